//! Whether the file itself is whole: its pages, its references, and the triggers that keep it append-only.

use std::collections::BTreeSet;

use super::{Registry, Result};

impl Registry {
    /// What is wrong with the file, one line each; nothing when it is whole.
    ///
    /// Compares the schema with that of a new registry: whoever drops a trigger to edit what is frozen leaves a trace.
    pub fn problems(&self) -> Result<Vec<String>> {
        let mut problems = Vec::new();
        let mut query = self.connection.prepare("PRAGMA integrity_check(10)")?;
        for line in query.query_map([], |row| row.get::<_, String>(0))? {
            problems.push(line?);
        }
        problems.retain(|line| line != "ok");
        let mut query = self.connection.prepare("PRAGMA foreign_key_check")?;
        for table in query.query_map([], |row| row.get::<_, String>(0))? {
            problems.push(format!("a row of `{}` refers to a row that is not there", table?));
        }
        let (expected, found) = (Registry::in_memory()?.schema()?, self.schema()?);
        problems.extend(
            expected
                .difference(&found)
                .map(|(name, _)| format!("`{name}` is missing or changed")),
        );
        Ok(problems)
    }

    fn schema(&self) -> Result<BTreeSet<(String, Option<String>)>> {
        let mut query = self
            .connection
            .prepare("SELECT name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'")?;
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_trigger_is_named() {
        let registry = Registry::in_memory().unwrap();
        assert_eq!(registry.problems().unwrap(), Vec::<String>::new());
        registry
            .connection
            .execute_batch("DROP TRIGGER snapshots_no_update")
            .unwrap();
        assert_eq!(
            registry.problems().unwrap(),
            ["`snapshots_no_update` is missing or changed"]
        );
    }
}
