use bowline_core::resource::{Parsed, Resource, parse};

use crate::{top, yaml_files};

#[test]
fn every_example_directory_is_accepted_as_a_whole_without_a_warning() {
    let mut count = 0;
    for entry in std::fs::read_dir(top("examples")).unwrap() {
        let directory = entry.unwrap().path();
        if !directory.is_dir() {
            continue;
        }
        let files = yaml_files(&directory);
        assert!(!files.is_empty(), "{} has no file", directory.display());
        let parsed = files.iter().fold(Parsed::default(), |parsed, file| {
            let text = std::fs::read_to_string(file).unwrap();
            parsed.and(parse(&text, file.to_str()))
        });
        let references = parsed.check_references(|_| None);
        let found: Vec<String> =
            parsed.diagnostics.iter().chain(&references).map(ToString::to_string).collect();
        assert!(found.is_empty(), "{}", found.join("\n"));
        let gateways =
            parsed.resources.iter().filter(|one| matches!(one.resource, Resource::Gateway(_))).count();
        assert!(gateways > 0, "{} has no gateway", directory.display());
        count += 1;
    }
    assert!(count >= 7, "only {count} examples");
}
