//! Plain scalars of the YAML 1.2 core schema.

use serde_json::Number;

use super::NodeKind;

/// What a plain scalar means.
pub(super) fn resolve(text: &str) -> NodeKind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => NodeKind::Null,
        "true" | "True" | "TRUE" => NodeKind::Bool(true, text.to_owned()),
        "false" | "False" | "FALSE" => NodeKind::Bool(false, text.to_owned()),
        _ => match number(text) {
            Some(number) => NodeKind::Number(number, text.to_owned()),
            None => NodeKind::String(text.to_owned()),
        },
    }
}

fn number(text: &str) -> Option<Number> {
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(digits, 8);
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let (whole, decimals) = match mantissa.split_once('.') {
        Some((whole, decimals)) => (whole, Some(decimals)),
        None => (mantissa, None),
    };
    let is_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let has_digits = !whole.is_empty() || decimals.is_some_and(|decimals| !decimals.is_empty());
    let exponent_is_good = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !digits.is_empty() && is_digits(digits)
    });
    // `010` is ten in YAML 1.2 and eight in YAML 1.1 and in Go's reader.
    let is_disputed = whole.len() > 1 && whole.starts_with('0');
    if !has_digits || !is_digits(whole) || !decimals.is_none_or(is_digits) || !exponent_is_good || is_disputed
    {
        return None;
    }
    if decimals.is_none() && exponent.is_none() {
        let text = text.strip_prefix('+').unwrap_or(text);
        return text.parse::<i64>().map(Number::from).or_else(|_| text.parse::<u64>().map(Number::from)).ok();
    }
    Number::from_f64(text.parse().ok()?)
}

fn radix(digits: &str, radix: u32) -> Option<Number> {
    // `from_str_radix` takes a sign, which the schema does not.
    digits
        .bytes()
        .all(|b| b.is_ascii_hexdigit())
        .then(|| u64::from_str_radix(digits, radix).ok())?
        .map(Number::from)
}
