//! Compares what was found with what PyTorch found, remembers the worst of it, and knows what was never compared.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use assent::model::params::to_vec;
use burn::tensor::Tensor;
use serde_json::Value;

use crate::fixture::{Case, Fixture};

/// Losses, timesteps and sigmas: single numbers, of which diffusers' f32 has some seven digits.
const OF_A_NUMBER: f64 = 1e-5;

pub struct Check<'a> {
    fixture: &'a Fixture,
    case: &'a Case,
    seen: BTreeSet<String>,
    worst: Option<(f64, String)>,
    failures: Vec<String>,
}

impl<'a> Check<'a> {
    pub fn new(fixture: &'a Fixture, case: &'a Case) -> Self {
        Self {
            fixture,
            case,
            seen: BTreeSet::new(),
            worst: None,
            failures: Vec::new(),
        }
    }

    /// Compares an output, within the case's tolerance for it.
    pub fn tensor<const D: usize>(&mut self, role: &str, found: Tensor<D>) -> Result<()> {
        let shape = found.dims().to_vec();
        self.output(role, &shape, &to_vec(found))
    }

    /// As [`Self::tensor`], with the values on the host.
    pub fn output(&mut self, role: &str, shape: &[usize], found: &[f32]) -> Result<()> {
        let expected = self.expected(role, shape)?;
        let family = family(role);
        let scale = self
            .case
            .scale
            .get(&family)
            .with_context(|| format!("no scale for `{role}`"))?;
        let noise = self.case.noise.get(&family).copied().unwrap_or(0.0);
        let tolerance = (20.0 * noise).max(2e-5 * scale);
        let worst = worst_difference(found, expected);
        self.note(worst / tolerance, &format!("{role}: {worst:.1e} of {tolerance:.1e}"));
        Ok(())
    }

    /// What PyTorch found for an output, which counts as compared from now on.
    pub fn expected(&mut self, role: &str, shape: &[usize]) -> Result<&'a [f32]> {
        let family = family(role);
        ensure!(
            self.case.outputs.contains_key(&family),
            "`{role}` is no output of the case"
        );
        let name = format!("{}/{role}", self.case.name);
        let expected = self
            .fixture
            .tensors
            .get(&name)
            .with_context(|| format!("no tensor `{name}`"))?;
        ensure!(
            expected.shape == shape,
            "`{role}` has shape {shape:?}, expected {:?}",
            expected.shape
        );
        self.seen.insert(name);
        Ok(&expected.values)
    }

    /// Compares one of the case's values with what was found: numbers nearly, everything else exactly.
    pub fn value(&mut self, key: &str, found: &Value) -> Result<()> {
        let expected = self
            .case
            .values
            .get(key)
            .with_context(|| format!("`{key}` is no value of the case"))?;
        self.seen.insert(key.to_owned());
        self.alike(key, found, expected);
        Ok(())
    }

    fn alike(&mut self, at: &str, found: &Value, expected: &Value) {
        match (found, expected) {
            (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
                for (i, (a, b)) in a.iter().zip(b).enumerate() {
                    self.alike(&format!("{at}[{i}]"), a, b);
                }
            }
            (Value::Object(a), Value::Object(b)) if a.keys().eq(b.keys()) => {
                for (key, a) in a {
                    self.alike(&format!("{at}.{key}"), a, &b[key]);
                }
            }
            (Value::Number(a), Value::Number(b)) => {
                let whole = b.is_u64();
                let (a, b) = (a.as_f64().unwrap_or(f64::NAN), b.as_f64().unwrap_or(f64::NAN));
                let tolerance = (OF_A_NUMBER * b.abs()).max(1e-7);
                match (a == b, whole) {
                    (true, _) => self.note(0.0, "equal"),
                    // Token ids and whole timesteps.
                    (false, true) => self.failures.push(format!("{at}: {a} for {b}")),
                    (false, false) => self.note((a - b).abs() / tolerance, &format!("{at}: {a} for {b}")),
                }
            }
            (a, b) if a == b => self.note(0.0, "equal"),
            (a, b) => self.failures.push(format!("{at}: {a} for {b}")),
        }
    }

    /// Notes a difference as a share of what is allowed.
    pub fn note(&mut self, ratio: f64, text: &str) {
        if ratio > 1.0 || ratio.is_nan() {
            self.failures.push(format!("{text} ({ratio:.3} of the tolerance)"));
        }
        if self.worst.as_ref().is_none_or(|(worst, _)| ratio > *worst) {
            self.worst = Some((ratio, text.to_owned()));
        }
    }

    /// The worst of what was compared.
    pub fn worst(&self) -> String {
        self.worst
            .as_ref()
            .map_or_else(String::new, |(ratio, text)| format!("{ratio:.3}  {text}"))
    }

    /// Whether all was near enough, and nothing was left out.
    pub fn finish(&self) -> Result<()> {
        if !self.failures.is_empty() {
            let more = self.failures.len().saturating_sub(3);
            let shown: Vec<&str> = self.failures.iter().take(3).map(String::as_str).collect();
            bail!(
                "{}{}",
                shown.join("; "),
                if more > 0 {
                    format!("; and {more} more")
                } else {
                    String::new()
                }
            );
        }
        let mut all: Vec<String> = self.case.values.keys().cloned().collect();
        for (role, name) in &self.case.outputs {
            match role.strip_suffix('*').and(name.strip_suffix('*')) {
                Some(prefix) => all.extend(self.fixture.tensors.keys().filter(|k| k.starts_with(prefix)).cloned()),
                None => all.push(name.clone()),
            }
        }
        ensure!(!all.is_empty(), "the case has nothing to compare");
        let left: Vec<&String> = all.iter().filter(|name| !self.seen.contains(*name)).collect();
        ensure!(
            left.is_empty(),
            "{} of {} outputs were not compared, such as `{}`",
            left.len(),
            all.len(),
            left[0]
        );
        Ok(())
    }
}

/// The name under which a case states a role's scale and noise.
fn family(role: &str) -> String {
    role.split_once('/')
        .map_or_else(|| role.to_owned(), |(first, _)| format!("{first}/*"))
}

/// The greatest difference; not a number if there is one among either.
fn worst_difference(found: &[f32], expected: &[f32]) -> f64 {
    let differences = found
        .iter()
        .zip(expected)
        .map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs());
    differences.fold(0.0, |worst, d| {
        if d.is_nan() {
            f64::NAN
        } else if worst >= d || worst.is_nan() {
            worst
        } else {
            d
        }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::fixture::Array;

    /// A case `c` with an output `out` of scale 1 and noise 1e-7, a family `grad/*` of scale 1, and a value.
    fn fixture() -> Result<Fixture> {
        let case = serde_json::from_value(json!({
            "name": "c", "type": "unet", "params": {}, "inputs": {},
            "outputs": { "out": "c/out", "grad/*": "c/grad/*" }, "values": { "n": [1, 2.5] },
            "scale": { "out": 1.0, "grad/*": 1.0 }, "noise": { "out": 1e-7, "grad/*": 1e-5 },
        }))?;
        let names = ["c/out", "c/grad/a", "c/grad/b", "other"];
        let array = |name: &str| {
            (
                name.to_owned(),
                Array {
                    shape: vec![2],
                    values: vec![1.0, -1.0],
                },
            )
        };
        Ok(Fixture::of(
            "tiny",
            vec![case],
            names.iter().map(|n| array(n)).collect::<BTreeMap<_, _>>(),
        ))
    }

    /// What a check says of these outputs and of the value.
    fn verdict(out: [f32; 2], grads: &[&str], n: Value) -> Result<()> {
        let fixture = fixture()?;
        let mut check = Check::new(&fixture, &fixture.cases[0]);
        check.output("out", &[2], &out)?;
        for name in grads {
            check.output(&format!("grad/{name}"), &[2], &[1.0, -1.0])?;
        }
        check.value("n", &n)?;
        check.finish()
    }

    fn refusal(out: [f32; 2], grads: &[&str], n: Value) -> String {
        verdict(out, grads, n).err().map(|e| e.to_string()).unwrap_or_default()
    }

    #[test]
    fn what_is_near_enough_passes_and_what_is_not_fails() -> Result<()> {
        verdict([1.0, -1.0], &["a", "b"], json!([1, 2.5]))?;
        // 2e-5 of the scale counts where twenty times the noise is less.
        verdict([1.000_019, -1.0], &["a", "b"], json!([1.0, 2.500_02]))?;
        assert!(refusal([1.000_021, -1.0], &["a", "b"], json!([1, 2.5])).contains("out: 2.1e-5 of 2.0e-5"));
        assert!(refusal([1.0, f32::NAN], &["a", "b"], json!([1, 2.5])).contains("NaN"));
        assert!(refusal([1.0, -1.0], &["a", "b"], json!([2, 2.5])).contains("n[0]: 2 for 1"));
        assert!(refusal([1.0, -1.0], &["a", "b"], json!([1, 2.501])).contains("n[1]"));
        assert!(refusal([1.0, -1.0], &["a", "b"], json!([1])).contains("n: [1] for"));
        Ok(())
    }

    #[test]
    fn what_was_left_out_fails() -> Result<()> {
        let text = refusal([1.0, -1.0], &["a"], json!([1, 2.5]));
        assert_eq!(text, "1 of 4 outputs were not compared, such as `c/grad/b`");
        let fixture = fixture()?;
        let mut check = Check::new(&fixture, &fixture.cases[0]);
        assert!(check.finish().is_err());
        assert!(check.output("out", &[1, 2], &[1.0, -1.0]).is_err());
        assert!(check.output("grad/c", &[2], &[1.0, -1.0]).is_err());
        assert!(check.output("other", &[2], &[1.0, -1.0]).is_err());
        Ok(())
    }
}
