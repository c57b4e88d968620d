//! An error with its causes on one line, for logs and statuses. `Display` of an error says its own layer only.

use std::error::Error;

/// The error and its causes, outermost first, with colons between them; a cause whose words were said already is
/// left out.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{words}")]
    struct Layer {
        words: &'static str,
        source: Option<Box<Layer>>,
    }

    fn layers(words: &[&'static str]) -> Option<Box<Layer>> {
        let (first, rest) = words.split_first()?;
        Some(Box::new(Layer { words: first, source: layers(rest) }))
    }

    #[test]
    fn causes_follow_and_repetitions_are_left_out() {
        let error = layers(&["cannot start", "connection refused", "refused", "os error 111"]).unwrap();
        assert_eq!(with_causes(&*error), "cannot start: connection refused: os error 111");
    }
}
