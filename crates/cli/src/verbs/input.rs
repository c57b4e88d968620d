//! Files of `-f`.

use std::fs;
use std::io::Read;
use std::path::Path;

use bowline_api::wire::InputFile;

use crate::failure::Failure;

/// What is read of one input at most; the API takes 8 MiB.
const LIMIT: u64 = 8 << 20;

/// Reads files, directories (their YAML and JSON files in the order of their names, not those below) and `-`.
pub(crate) fn read(paths: &[impl AsRef<Path>]) -> Result<Vec<InputFile>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        let path = path.as_ref();
        if path == Path::new("-") {
            files.push(InputFile { name: None, text: text(std::io::stdin().lock(), path)?.into() });
        } else if path.is_dir() {
            files.extend(directory(path)?);
        } else {
            files.push(file(path)?);
        }
    }
    Ok(files)
}

fn directory(path: &Path) -> Result<Vec<InputFile>, Failure> {
    let failed =
        |error: std::io::Error| Failure::user(format!("cannot read {}", path.display())).because(&error);
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let known = path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json");
        if known && path.is_file() {
            names.push(path);
        }
    }
    if names.is_empty() {
        return Err(Failure::user(format!("{} has no *.yaml, *.yml or *.json file", path.display())));
    }
    names.sort();
    names.iter().map(|path| file(path)).collect()
}

fn file(path: &Path) -> Result<InputFile, Failure> {
    let opened = fs::File::open(path)
        .map_err(|error| Failure::user(format!("cannot read {}", path.display())).because(&error))?;
    Ok(InputFile { name: Some(path.display().to_string()), text: text(opened, path)?.into() })
}

fn text(reader: impl Read, path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    reader
        .take(LIMIT + 1)
        .read_to_string(&mut text)
        .map_err(|error| Failure::user(format!("cannot read {}", path.display())).because(&error))?;
    if text.len() as u64 > LIMIT {
        return Err(Failure::user(format!("{} is larger than {LIMIT} bytes", path.display())));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_gives_its_spec_files_in_the_order_of_their_names() {
        let home = tempfile::tempdir().unwrap();
        for name in ["b.yaml", "a.yml", "c.json", "notes.txt", ".b.yaml.swp"] {
            fs::write(home.path().join(name), name).unwrap();
        }
        fs::create_dir(home.path().join("below.yaml")).unwrap();
        let files = read(&[home.path()]).unwrap();
        let texts: Vec<_> = files.iter().map(|file| file.text.expose()).collect();
        assert_eq!(texts, ["a.yml", "b.yaml", "c.json"]);
        assert_eq!(files[0].name.as_deref(), Some(home.path().join("a.yml").to_str().unwrap()));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let home = tempfile::tempdir().unwrap();
        assert!(read(&[home.path()]).unwrap_err().to_string().contains("has no *.yaml"));
        let missing = home.path().join("missing.yaml");
        assert!(read(&[&missing]).unwrap_err().to_string().contains("missing.yaml"));
    }
}
