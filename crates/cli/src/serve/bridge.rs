//! Where the bridge is, the static program that every server container runs its server behind.

use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// Environment variable that names the bridge.
const VARIABLE: &str = "BOWLINE_BRIDGE";
/// Its file name beside this program.
const NAME: &str = "bowline-bridge";

/// The bridge that the environment names, or the one beside this program.
pub(crate) fn find() -> Result<PathBuf, Failure> {
    let named = std::env::var_os(VARIABLE).map(PathBuf::from);
    let beside = std::env::current_exe().ok().and_then(|program| Some(program.parent()?.join(NAME)));
    choose(named, beside)
}

fn choose(named: Option<PathBuf>, beside: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let hint = "deploy/image/build.sh builds it; BOWLINE_BRIDGE names it where it is not beside `bowline`";
    match (named, beside) {
        (Some(named), _) if is_file(&named) => Ok(named),
        (Some(named), _) => {
            Err(Failure::user(format!("{VARIABLE} names {}, which is no file", named.display())).hint(hint))
        }
        (None, Some(beside)) if is_file(&beside) => Ok(beside),
        (None, Some(beside)) => {
            Err(Failure::user(format!("the bridge is missing: there is no {}", beside.display())).hint(hint))
        }
        (None, None) => Err(Failure::ours("this program's own place is not known").hint(hint)),
    }
}

fn is_file(path: &Path) -> bool {
    path.is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_comes_first_and_what_is_missing_is_named() {
        let home = tempfile::tempdir().unwrap();
        let (here, missing) = (home.path().join("here"), home.path().join("missing"));
        std::fs::write(&here, "").unwrap();
        assert_eq!(choose(Some(here.clone()), Some(missing.clone())), Ok(here.clone()));
        assert_eq!(choose(None, Some(here.clone())), Ok(here.clone()));
        for (named, beside) in [(Some(missing.clone()), Some(here)), (None, Some(missing.clone()))] {
            let failure = choose(named, beside).unwrap_err().to_string();
            assert!(failure.contains(missing.to_str().unwrap()) && failure.contains("hint:"), "{failure}");
        }
    }
}
