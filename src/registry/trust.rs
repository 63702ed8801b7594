//! The user's trust list: public keys whose signatures a policy may ask for.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::values::time;
use super::{Registry, RegistryError, Result};
use crate::keys::PublicKey;

/// A key on the trust list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedKey {
    /// The key.
    pub key: PublicKey,
    /// Whose it is, in the user's words.
    pub name: Option<String>,
    /// When it was put on the list.
    pub added_at: Timestamp,
}

impl Registry {
    /// Puts a key on the trust list; one that is there gets the new name.
    pub fn trust_key(&mut self, key: &PublicKey, name: Option<&str>, at: Timestamp) -> Result<()> {
        self.connection.execute(
            "INSERT INTO trusted_keys (key, name, added_at) VALUES (?1, ?2, ?3)
             ON CONFLICT (key) DO UPDATE SET name = excluded.name",
            params![key.as_bytes(), name, at.to_string()],
        )?;
        Ok(())
    }

    /// Takes a key off the trust list; says whether it was on it.
    pub fn distrust_key(&mut self, key: &PublicKey) -> Result<bool> {
        let sql = "DELETE FROM trusted_keys WHERE key = ?1";
        Ok(self.connection.execute(sql, [key.as_bytes()])? > 0)
    }

    /// The trust list, in the order in which keys were put on it.
    pub fn trusted_keys(&self) -> Result<Vec<TrustedKey>> {
        keys(&self.connection)
    }
}

pub(super) fn keys(connection: &Connection) -> Result<Vec<TrustedKey>> {
    let sql = "SELECT key, name, added_at FROM trusted_keys ORDER BY added_at, key";
    let mut query = connection.prepare_cached(sql)?;
    let rows = query.query_map([], |row| {
        Ok((row.get::<_, [u8; 32]>(0)?, row.get(1)?, row.get::<_, String>(2)?))
    })?;
    rows.map(|row| {
        let (key, name, added_at) = row?;
        let key = PublicKey::from_bytes(&key).map_err(|_| RegistryError::Damaged {
            expected: "an Ed25519 public key",
            found: hex::encode(key),
        })?;
        let added_at = time(&added_at)?;
        Ok(TrustedKey { key, name, added_at })
    })
    .collect()
}
