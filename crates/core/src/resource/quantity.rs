//! Amounts of memory, CPU and processes, in Kubernetes' notation.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The least memory limit that Docker takes: 6 MiB.
pub(crate) const MIN_MEMORY: Memory = Memory(6 << 20);
/// 1 PiB: no machine has more, and every sum of a few of these fits Docker's signed 64 bits.
pub(crate) const MAX_MEMORY: Memory = Memory(1 << 50);
/// The least CPU limit that Docker takes: a hundredth of a core.
pub(crate) const MIN_CPU_LIMIT: Cpu = Cpu(10);
/// The least share of CPU that the kernel takes (2 of 1024).
pub(crate) const MIN_CPU_REQUEST: Cpu = Cpu(2);
/// 1024 cores.
pub(crate) const MAX_CPU: Cpu = Cpu(1_024_000);
/// The kernel's greatest process id, and so the greatest limit that limits anything.
pub(crate) const MAX_PIDS: u32 = 4_194_304;

const BINARY: [(&str, u64); 4] = [("Ki", 1 << 10), ("Mi", 1 << 20), ("Gi", 1 << 30), ("Ti", 1 << 40)];
const DECIMAL: [(&str, u64); 4] =
    [("k", 1_000), ("M", 1_000_000), ("G", 1_000_000_000), ("T", 1_000_000_000_000)];

/// An amount of memory in bytes. Displays in the greatest unit that divides it: `256Mi`, `1Gi`, `512M`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Memory(u64);

/// An amount of CPU in thousandths of a core. Displays as `500m` or as whole cores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cpu(u32);

/// Why a text is not a quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not a number with a known unit.
    #[error("`{0}` is not an amount of memory")]
    Memory(String),
    /// Not a number of cores or millicores.
    #[error("`{0}` is not an amount of CPU")]
    Cpu(String),
}

impl QuantityError {
    /// What to write instead.
    pub fn hint(&self) -> String {
        let Self::Memory(written) = self else {
            return "write cores or thousandths of a core, such as `1`, `0.5` or `500m`".to_owned();
        };
        let usual = "write bytes or a unit of Kubernetes, such as `256Mi`, `1Gi` or `512M`";
        let digits = written.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        match &written[digits.len()..] {
            "Mb" | "MB" | "m" | "mb" | "MiB" if !digits.is_empty() => {
                format!("did you mean `{digits}Mi`? {usual}")
            }
            "Gb" | "GB" | "g" | "gb" | "GiB" if !digits.is_empty() => {
                format!("did you mean `{digits}Gi`? {usual}")
            }
            _ => usual.to_owned(),
        }
    }
}

impl Memory {
    /// So many bytes.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// So many MiB.
    pub const fn from_mib(mib: u64) -> Self {
        Self(mib << 20)
    }

    /// The amount in bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl Cpu {
    /// So many thousandths of a core.
    pub const fn from_millis(millis: u32) -> Self {
        Self(millis)
    }

    /// The amount in thousandths of a core.
    pub const fn millis(self) -> u32 {
        self.0
    }
}

impl FromStr for Memory {
    type Err = QuantityError;

    fn from_str(written: &str) -> Result<Self, Self::Err> {
        let error = || QuantityError::Memory(written.to_owned());
        let (number, unit) = BINARY
            .iter()
            .chain(&DECIMAL)
            .find_map(|(suffix, unit)| written.strip_suffix(suffix).map(|number| (number, *unit)))
            .unwrap_or((written, 1));
        // Thousandths are enough for `1.5Gi`, and keep this exact: no floating point.
        let thousandths = parse_thousandths(number).ok_or_else(error)?;
        let bytes = u128::from(thousandths) * u128::from(unit);
        if bytes % 1000 != 0 {
            return Err(error());
        }
        u64::try_from(bytes / 1000).map(Self).map_err(|_| error())
    }
}

impl FromStr for Cpu {
    type Err = QuantityError;

    fn from_str(written: &str) -> Result<Self, Self::Err> {
        let millis = match written.strip_suffix('m') {
            Some(millis) if is_digits(millis) => millis.parse().ok(),
            Some(_) => None,
            None => parse_thousandths(written).and_then(|millis| u32::try_from(millis).ok()),
        };
        millis.map(Self).ok_or_else(|| QuantityError::Cpu(written.to_owned()))
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// `12`, `1.5`, `.5`, `0.125` in thousandths; at most three decimals.
fn parse_thousandths(text: &str) -> Option<u64> {
    if !text.contains(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let whole = if whole.is_empty() { "0" } else { whole };
    let decimals = decimals.trim_end_matches('0');
    if !is_digits(whole) || decimals.len() > 3 || !(decimals.is_empty() || is_digits(decimals)) {
        return None;
    }
    let decimals: u64 = format!("{decimals:0<3}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(decimals)
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let divides = |(_, unit): &&(&str, u64)| self.0 >= *unit && self.0.is_multiple_of(*unit);
        match BINARY.iter().rev().find(divides).or_else(|| DECIMAL.iter().rev().find(divides)) {
            Some((suffix, unit)) => write!(f, "{}{suffix}", self.0 / unit),
            None => write!(f, "{}", self.0),
        }
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(1000) { write!(f, "{}", self.0 / 1000) } else { write!(f, "{}m", self.0) }
    }
}

/// Serde as the canonical text, read from any accepted one.
macro_rules! serde_as_text {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
serde_as_text!(Memory, Cpu);

/// What a container is given (`requests`) and may not exceed (`limits`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resources {
    /// Its share when resources are scarce.
    #[serde(default, skip_serializing_if = "Requests::is_empty")]
    pub requests: Requests,
    /// Its upper bounds.
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
}

/// The share of a container when resources are scarce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Requests {
    /// Relative weight of CPU time; 1 core is 1024 of Docker's CPU shares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cpu>,
    /// Memory kept from reclaim while others have more (Docker's soft limit).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
}

/// The upper bounds of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// CPU time per time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cpu>,
    /// Memory, swap included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// Processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
}

/// A request that is greater than its limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Excess {
    /// `cpu` or `memory`.
    pub(crate) name: &'static str,
    /// What is requested.
    pub(crate) request: String,
    /// What it is limited to.
    pub(crate) limit: String,
}

impl Excess {
    fn new(name: &'static str, request: impl fmt::Display, limit: impl fmt::Display) -> Self {
        Self { name, request: request.to_string(), limit: limit.to_string() }
    }
}

impl Requests {
    /// Whether nothing is requested.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Limits {
    /// Whether nothing is limited.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Resources {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Every request that is greater than its limit.
    pub(crate) fn excesses(&self) -> impl Iterator<Item = Excess> {
        let Self { requests, limits } = self;
        let cpu = requests.cpu.zip(limits.cpu).filter(|(request, limit)| request > limit);
        let memory = requests.memory.zip(limits.memory).filter(|(request, limit)| request > limit);
        let cpu = cpu.map(|(request, limit)| Excess::new("cpu", request, limit));
        let memory = memory.map(|(request, limit)| Excess::new("memory", request, limit));
        cpu.into_iter().chain(memory)
    }

    /// These resources, completed field by field from `defaults`.
    #[must_use]
    pub fn or(self, defaults: Self) -> Self {
        let Self { requests: Requests { cpu, memory }, limits } = self;
        let requests =
            Requests { cpu: cpu.or(defaults.requests.cpu), memory: memory.or(defaults.requests.memory) };
        let Limits { cpu, memory, pids } = limits;
        let limits = Limits {
            cpu: cpu.or(defaults.limits.cpu),
            memory: memory.or(defaults.limits.memory),
            pids: pids.or(defaults.limits.pids),
        };
        Self { requests, limits }
    }
}

#[cfg(test)]
mod tests;
