use std::collections::BTreeSet;

use bowline_core::diagnostic::{Code, Diagnostic};
use bowline_core::resource::parse;

use crate::{holds, top, yaml_files};

/// Every finding about a case, references included.
fn findings(file: &std::path::Path) -> (Vec<Diagnostic>, Vec<String>) {
    let text = std::fs::read_to_string(file).unwrap();
    let name = file.file_name().unwrap().to_str().unwrap();
    let parsed = parse(&text, Some(name));
    let references = parsed.check_references(|_| None);
    let accepted = parsed.resources.iter().map(|located| located.resource.key().to_string()).collect();
    (parsed.diagnostics.into_iter().chain(references).collect(), accepted)
}

#[test]
fn every_case_gives_its_golden_diagnostics() {
    let mut different = Vec::new();
    for file in yaml_files(&top("specs/cases/input")) {
        let (found, accepted) = findings(&file);
        let blocks = found.iter().map(|found| format!("{found}\n"));
        let kept = accepted.iter().map(|key| format!("accepted: {key}\n"));
        let text: String = blocks.chain(kept).collect();
        different.extend(holds(&file.with_extension("txt"), &text).err());
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn every_code_has_a_case_of_its_name_that_shows_it() {
    let mut shown = BTreeSet::new();
    for file in yaml_files(&top("specs/cases/input")) {
        let stem = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let code = Code::ALL.iter().find(|code| stem.split('-').next() == Some(code.as_str()));
        let code = code.unwrap_or_else(|| panic!("{stem} is not named after a code"));
        assert!(findings(&file).0.iter().any(|found| found.code == *code), "{stem} does not show its code");
        shown.insert(*code);
    }
    let missing: Vec<&Code> = Code::ALL.iter().filter(|code| !shown.contains(code)).collect();
    assert!(missing.is_empty(), "no golden case for {missing:?}");
}

#[test]
fn every_golden_file_belongs_to_a_case() {
    for entry in std::fs::read_dir(top("specs/cases/input")).unwrap() {
        let path = entry.unwrap().path();
        assert!(path.with_extension("yaml").is_file(), "{} has no case", path.display());
    }
}
