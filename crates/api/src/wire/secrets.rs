//! Secrets over the wire: values travel towards the server only, in a type that does not show them.

use std::collections::BTreeMap;
use std::fmt;

use bowline_core::object::GatewayKey;
use bowline_core::secret::SecretText;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A text that is the value of a secret, or may hold one. It is a plain string on the wire and hidden everywhere else:
/// `Debug` does not show it, and its memory is wiped in the end.
#[derive(Clone, PartialEq, Eq)]
pub struct HiddenText(SecretText);

impl HiddenText {
    /// The text itself, for whoever has to read it.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl From<String> for HiddenText {
    fn from(text: String) -> Self {
        HiddenText(SecretText::new(text))
    }
}

impl From<HiddenText> for SecretText {
    fn from(text: HiddenText) -> Self {
        text.0
    }
}

impl fmt::Debug for HiddenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HiddenText(…)")
    }
}

impl Serialize for HiddenText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.expose())
    }
}

impl<'de> Deserialize<'de> for HiddenText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

/// `PUT …/secrets/{name}/keys`: sets these keys and leaves the others alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretKeysRequest {
    /// Key to value.
    pub string_data: BTreeMap<String, HiddenText>,
}

/// `status` of a Secret, made when it is read: what is known of its values without opening them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretStatus {
    /// The keys by name.
    #[serde(default)]
    pub keys: Vec<SecretKeyStatus>,
    /// The gateways that name the Secret.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub used_by: Vec<GatewayKey>,
}

/// One key of a Secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyStatus {
    /// The key.
    pub name: String,
    /// Grows with every value that was written, the same one again included.
    pub version: i64,
    /// When this version was written.
    pub written_at: DateTime<Utc>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANARY: &str = "canary-7c1d";

    #[test]
    fn debug_of_what_carries_values_shows_none_and_the_wire_does() {
        let text = HiddenText::from(CANARY.to_owned());
        let request = SecretKeysRequest { string_data: BTreeMap::from([("token".to_owned(), text.clone())]) };
        let file = super::super::InputFile { name: Some("a.yaml".to_owned()), text };
        let shown = format!("{request:?} {request:#?} {file:?} {file:#?}");
        assert!(!shown.contains(CANARY), "{shown}");
        assert!(shown.contains("token") && shown.contains("HiddenText(…)"), "{shown}");
        let sent = serde_json::to_string(&request).unwrap();
        assert_eq!(sent, format!(r#"{{"stringData":{{"token":"{CANARY}"}}}}"#));
        assert_eq!(serde_json::from_str::<SecretKeysRequest>(&sent).unwrap(), request);
    }
}
