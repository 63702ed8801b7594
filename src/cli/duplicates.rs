//! `assent duplicates`: groups of registered pictures that show the same thing.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use anyhow::Result;
use serde_json::json;

use super::images::name;
use super::sheet::Contacts;
use super::{Context, Exit, Style};
use crate::digest::Sha256Digest;
use crate::fingerprint::{DOUBTFUL, SAME};
use crate::registry::ImageFilter;

/// Options of `assent duplicates`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many bits may differ
    #[arg(long, value_name = "N", default_value_t = SAME, value_parser = clap::value_parser!(u32).range(0..=i64::from(DOUBTFUL)))]
    pub distance: u32,
    /// Draw the groups, one a row: a PNG
    #[arg(long, value_name = "FILE")]
    pub sheet: Option<PathBuf>,
}

/// Lists the groups.
pub fn run(context: &Context, args: Args) -> Result<Exit> {
    let registry = context.open_registry()?;
    let images = registry.images(&ImageFilter::default())?;
    let mut pairs: BTreeMap<(Sha256Digest, Sha256Digest), u32> = BTreeMap::new();
    for pair in registry.near_pairs(args.distance)? {
        pairs.insert((pair.image, pair.other), pair.distance);
    }
    let groups = groups(pairs.keys().copied());
    let names: HashMap<_, _> = images.iter().map(|image| (image.sha256, image)).collect();
    let mut contacts = args.sheet.as_ref().map(|_| Contacts::new([]));
    for group in &groups {
        if let Some(contacts) = &mut contacts {
            let label = format!("{} pictures", group.len());
            contacts.row(label, group.iter().map(|sha256| names.get(sha256).copied()));
        }
        let inside: Vec<_> = pairs.iter().filter(|((a, _), _)| group.contains(a)).collect();
        if context.json {
            let distance = |((a, b), distance): &(&(Sha256Digest, Sha256Digest), &u32)| json!({"a": a, "b": b, "distance": distance});
            context
                .json_line(&json!({"group": group, "distances": inside.iter().map(distance).collect::<Vec<_>>()}))?;
            continue;
        }
        let first = group.first().copied();
        context.line(context.paint(Style::Strong, format!("{} pictures", group.len())))?;
        for sha256 in group {
            let Some(image) = names.get(sha256) else { continue };
            let nearest = inside
                .iter()
                .filter(|((a, b), _)| a == sha256 || b == sha256)
                .map(|(_, far)| **far)
                .min();
            let far = match nearest {
                Some(distance) if Some(*sha256) != first => format!("  distance {distance}"),
                _ => String::new(),
            };
            let by = image
                .artists
                .first()
                .map(|artist| format!(", by {artist}"))
                .unwrap_or_default();
            let size = format!("{}x{} {}", image.width, image.height, image.format);
            context.line(format_args!("  {}  {}  {size}{by}{far}", sha256.short(), name(image)))?;
        }
    }
    context.message(format_args!("{} groups among {} pictures", groups.len(), images.len()));
    if let (Some(contacts), Some(path)) = (contacts, &args.sheet) {
        contacts.write(context, path, "groups of pictures that show the same")?;
    }
    Ok(Exit::Done)
}

/// The connected groups of these pairs, each sorted, in the order of their first pictures.
fn groups(pairs: impl Iterator<Item = (Sha256Digest, Sha256Digest)>) -> Vec<Vec<Sha256Digest>> {
    let mut parent: BTreeMap<Sha256Digest, Sha256Digest> = BTreeMap::new();
    fn top(parent: &mut BTreeMap<Sha256Digest, Sha256Digest>, of: Sha256Digest) -> Sha256Digest {
        let mut at = of;
        while let Some(above) = parent.get(&at).copied().filter(|above| *above != at) {
            at = above;
        }
        parent.insert(of, at);
        at
    }
    for (a, b) in pairs {
        let (a, b) = (top(&mut parent, a), top(&mut parent, b));
        // The smaller digest is the top, so that the order of the pairs does not show.
        parent.insert(a.max(b), a.min(b));
        parent.insert(a.min(b), a.min(b));
    }
    let mut groups: BTreeMap<Sha256Digest, Vec<Sha256Digest>> = BTreeMap::new();
    for member in parent.keys().copied().collect::<Vec<_>>() {
        groups.entry(top(&mut parent, member)).or_default().push(member);
    }
    groups.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_of_pairs_are_one_group() {
        let of = |byte| Sha256Digest::from_bytes([byte; 32]);
        let found = groups([(of(5), of(9)), (of(1), of(2)), (of(2), of(5)), (of(6), of(7))].into_iter());
        assert_eq!(found, [vec![of(1), of(2), of(5), of(9)], vec![of(6), of(7)]]);
    }
}
