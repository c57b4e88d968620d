//! Bearer tokens: `bow_`, 256 random bits, and a checksum by which scanners tell a token from noise.

use rand::TryRngCore;
use rand::rngs::OsRng;
use sha2::{Digest, Sha256};

/// What every token begins with.
pub(crate) const PREFIX: &str = "bow_";
/// Characters that 256 bits take in base 62.
const SECRET_LENGTH: usize = 43;
/// Characters that the checksum's 32 bits take in base 62.
const CHECKSUM_LENGTH: usize = 6;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A token that was just made.
pub(crate) struct Minted {
    /// Public id.
    pub(crate) id: String,
    /// The token: for the caller's eyes, never stored.
    pub(crate) token: String,
    /// Lower-case hexadecimal SHA-256 of the whole token.
    pub(crate) sha256: String,
}

/// Makes a token from the operating system's randomness.
///
/// # Errors
/// The operating system gives none.
pub(crate) fn mint() -> Result<Minted, rand::rand_core::OsError> {
    let mut secret = [0; 32];
    let mut id = [0; 8];
    OsRng.try_fill_bytes(&mut secret)?;
    OsRng.try_fill_bytes(&mut id)?;
    let token = render(secret);
    let sha256 = hex::encode(Sha256::digest(token.as_bytes()));
    Ok(Minted { id: hex::encode(id), token, sha256 })
}

/// The token of these 256 bits.
fn render(secret: [u8; 32]) -> String {
    let mut token = format!("{PREFIX}{}", base62(&secret, SECRET_LENGTH));
    let checksum = crc32(token.as_bytes()).to_be_bytes();
    token.push_str(&base62(&checksum, CHECKSUM_LENGTH));
    token
}

/// CRC-32 as in IEEE 802.3, one bit at a time: a token is 47 bytes.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| {
        if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 }
    };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

/// The big-endian number of `bytes` in `length` digits of base 62.
fn base62(bytes: &[u8], length: usize) -> String {
    let mut number = bytes.to_vec();
    let mut digits = vec![0; length];
    for digit in digits.iter_mut().rev() {
        let mut rest: u32 = 0;
        for byte in &mut number {
            let value = (rest << 8) | u32::from(*byte);
            // Below 256, as the rest is below 62.
            *byte = u8::try_from(value / 62).unwrap_or(u8::MAX);
            rest = value % 62;
        }
        *digit = ALPHABET[rest as usize];
    }
    digits.into_iter().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_fixed() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926, "the check value of CRC-32/ISO-HDLC");
        assert_eq!(base62(&[0, 0, 0, 61], 3), "00z");
        assert_eq!(base62(&[0, 0, 0, 62], 3), "010");
        let greatest = render([0xff; 32]);
        assert_eq!(greatest.len(), PREFIX.len() + SECRET_LENGTH + CHECKSUM_LENGTH);
        assert_ne!(&greatest[4..5], "0", "the greatest number needs every digit");
    }

    #[test]
    fn the_checksum_tells_a_token_from_one_with_a_wrong_character() {
        let token = mint().unwrap().token;
        let (body, checksum) = token.split_at(token.len() - CHECKSUM_LENGTH);
        assert_eq!(base62(&crc32(body.as_bytes()).to_be_bytes(), CHECKSUM_LENGTH), checksum);
        let other = body.replacen(&body[10..11], if &body[10..11] == "a" { "b" } else { "a" }, 1);
        assert_ne!(base62(&crc32(other.as_bytes()).to_be_bytes(), CHECKSUM_LENGTH), checksum);
    }

    #[test]
    fn no_two_tokens_are_alike_and_the_digest_is_of_the_whole_token() {
        let (a, b) = (mint().unwrap(), mint().unwrap());
        assert_ne!(a.token, b.token);
        assert_ne!(a.id, b.id);
        assert_eq!(a.sha256, hex::encode(Sha256::digest(a.token.as_bytes())));
    }
}
