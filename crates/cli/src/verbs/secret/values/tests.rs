use super::*;
use crate::args::tests::parse;
use crate::args::{Command, SecretCommand};

/// A standard input of a test: a terminal at which these answers are typed, or a pipe with this text.
pub(in crate::verbs::secret) struct Typed {
    answers: Option<Vec<String>>,
    piped: Vec<u8>,
}

impl Typed {
    pub(in crate::verbs::secret) fn terminal(answers: &[&str]) -> Self {
        Typed { answers: Some(answers.iter().rev().map(ToString::to_string).collect()), piped: Vec::new() }
    }

    fn pipe(text: impl Into<Vec<u8>>) -> Self {
        Typed { answers: None, piped: text.into() }
    }
}

impl Input for Typed {
    fn is_terminal(&self) -> bool {
        self.answers.is_some()
    }

    fn read(&mut self, limit: usize) -> io::Result<Zeroizing<Vec<u8>>> {
        read(self.piped.as_slice(), limit)
    }

    fn ask(&mut self, _key: &str) -> Result<Zeroizing<Vec<u8>>, PromptError> {
        let answer = self.answers.as_mut().and_then(Vec::pop).ok_or(PromptError::Cancelled)?;
        Ok(Zeroizing::new(answer.into_bytes()))
    }
}

fn args(words: &[&str]) -> SecretSetArgs {
    let words = ["bowline", "secret", "set", "-n", "u1", "work"].iter().chain(words);
    match parse(words) {
        Ok(Command::Secret(SecretCommand::Set(args))) => args,
        other => panic!("{other:?}"),
    }
}

/// `key=value` of each that would be set.
fn set(words: &[&str], mut input: Typed) -> (Vec<String>, Vec<String>) {
    let Values { values, warnings } = collect(&args(words), &mut input).unwrap();
    (values.iter().map(|(key, value)| format!("{key}={}", value.expose())).collect(), warnings)
}

/// Why nothing would be set.
fn refusal(words: &[&str], mut input: Typed) -> String {
    collect(&args(words), &mut input).unwrap_err().to_string()
}

#[test]
fn keys_without_values_are_asked_for_one_after_the_other() {
    let (values, warnings) = set(&["pat", "token"], Typed::terminal(&["one", " two "]));
    assert_eq!(values, ["pat=one", "token= two "], "blanks belong to a value");
    assert!(warnings.is_empty(), "{warnings:?}");
    assert!(refusal(&["pat"], Typed::terminal(&[])).contains("cancelled; nothing was set"));
    assert!(refusal(&["pat"], Typed::terminal(&[""])).contains("there was no value for pat"));
}

#[test]
fn a_pipe_gives_one_value_without_its_last_line_end() {
    for (piped, value) in [("v\n", "v"), ("v\r\n", "v"), ("v", "v"), ("v \n\n", "v \n"), ("a=b", "a=b")] {
        assert_eq!(set(&["pat"], Typed::pipe(piped)).0, [format!("pat={value}")], "{piped:?}");
    }
    let mut at_a_terminal = Typed::terminal(&[]);
    at_a_terminal.piped = b"v\n".to_vec();
    assert_eq!(set(&["pat", "--from-stdin"], at_a_terminal).0, ["pat=v"]);
    // A command before the pipe that failed has written nothing, or an empty line.
    for empty in ["", "\n"] {
        assert!(refusal(&["pat"], Typed::pipe(empty)).contains("there was no value for pat"), "{empty:?}");
    }
    assert!(refusal(&["a", "b"], Typed::pipe("v")).contains("these have none: a, b"));
    assert!(refusal(&["a=x", "--from-stdin"], Typed::pipe("v")).contains("no KEY without a value"));
}

#[test]
fn a_value_on_the_command_line_is_taken_with_a_warning_that_does_not_repeat_it() {
    let (values, warnings) = set(&["pat=s3cret=x", "empty="], Typed::pipe(""));
    assert_eq!(values, ["empty=", "pat=s3cret=x"]);
    assert!(warnings[0].contains("pat") && warnings[0].contains("history"), "{warnings:?}");
    assert!(!warnings[0].contains("s3cret"), "{warnings:?}");
}

#[test]
fn files_give_values_and_env_files_one_for_each_line() {
    let home = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = home.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let pat = file("pat", "from-file\n");
    let env = file("env", "\u{feff}# comment\n\n  A=1\r\nB=x=y \nC=\nQ=\"quoted\"\n");
    let (values, warnings) =
        set(&[&format!("--from-file=pat={pat}"), "--from-env-file", &env], Typed::pipe(""));
    assert_eq!(values, ["A=1", "B=x=y ", "C=", "Q=\"quoted\"", "pat=from-file"]);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("the value of Q is in quotes"), "{warnings:?}");
    assert_eq!(set(&["--from-env-file", "-"], Typed::pipe("A=1\n")).0, ["A=1"]);

    for (text, line) in [("A=1\ncanary", 2), ("export A=canary", 1), ("A B=canary", 1), ("=canary", 1)] {
        let said = refusal(&["--from-env-file", &file("bad", text)], Typed::pipe(""));
        assert!(said.contains(&format!("line {line} of ")) && !said.contains("canary"), "{said}");
    }
    let said = refusal(
        &[&format!("--from-file=pat={pat}"), "--from-env-file", &file("again", "pat=x")],
        Typed::pipe(""),
    );
    assert!(said.contains("pat is named twice"), "{said}");
    let said = refusal(&["pat", "--from-env-file", "-"], Typed::pipe("A=1"));
    assert!(said.contains("only once"), "{said}");
}

#[test]
fn what_is_wrong_is_told_before_anybody_is_asked_and_without_the_value() {
    let said = refusal(&["no key=canary", "pat"], Typed::terminal(&[]));
    assert!(said.contains("\"no key\" cannot be a key") && !said.contains("canary"), "{said}");
    assert!(refusal(&["pat"], Typed::pipe(vec![0xff, 0xfe])).contains("the value of pat is not UTF-8"));
    assert!(refusal(&["pat"], Typed::pipe("a\0b")).contains("NUL"));
    assert!(refusal(&["pat"], Typed::pipe("x".repeat(MAX_VALUE + 1))).contains("bytes"));
    assert_eq!(set(&["pat"], Typed::pipe("x".repeat(MAX_VALUE) + "\n")).0[0].len(), "pat=".len() + MAX_VALUE);
    let (_, warnings) = set(&["pem"], Typed::pipe("-----BEGIN\nMII\n-----END\n"));
    assert!(warnings[0].contains("line break") && warnings[0].contains("base64"), "{warnings:?}");
}

#[test]
fn no_text_of_the_arguments_shows_a_value() {
    let args = args(&["pat=canary"]);
    assert!(!format!("{args:?}{args:#?}").contains("canary"));
    let words = ["bowline", "secret", "set", "-n", "u1", "--from-file", "k=f", "--nonsense", "pat=canary"];
    assert!(!parse(&words).unwrap_err().to_string().contains("canary"));
}
