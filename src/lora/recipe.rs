//! What a fresh adapter is to be: its kind, its size on each layer, and how it is trained.

use globset::{Glob, GlobMatcher};

use super::Targets;

/// The kinds of updates that are trained, named as LyCORIS names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algo {
    /// `up · down`, on 3×3 convolutions too where they have a rank.
    Lora,
    /// The Hadamard product of two products.
    Loha,
    /// The Kronecker product of two factors.
    Lokr {
        /// Size of the smaller factor where it divides; -1 for the most even division.
        factor: i64,
        /// Whether the first factor is itself in two, where its rank makes that smaller.
        decompose_both: bool,
    },
}

/// How the matrices of a LoRA start. Whatever they start as, the model is unchanged at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// `down` uniform as Kaiming's with a = √5, `up` zero: kohya's and PEFT's default.
    Kaiming,
    /// `down` normal with a deviation of 1 / rank, `up` zero: PEFT's `gaussian`.
    Gaussian,
    /// The strongest directions of the weight, which are taken out of it.
    Pissa,
    /// The first directions of an orthonormal basis of the weight, which are taken out of it.
    Olora,
}

impl Start {
    /// Whether the model's own weights are changed, so that what was learned is the difference from the start.
    #[must_use]
    pub fn changes_base(self) -> bool {
        matches!(self, Start::Pissa | Start::Olora)
    }
}

/// Shares of an adapter that are left out of a micro-batch, 0 to below 1; what stays is scaled up by 1 / (1 - share).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Drop {
    /// Of the values between `down` and `up` (for LoHa and LoKr, of those that the update adds).
    pub neurons: f64,
    /// Of the ranks (for LoHa and LoKr, which have no ranks side by side, of the output's channels).
    pub ranks: f64,
    /// Of the modules; what stays is not scaled, as in sd-scripts.
    pub modules: f64,
}

impl Drop {
    /// Whether anything is left out at all.
    #[must_use]
    pub fn any(&self) -> bool {
        self.neurons > 0.0 || self.ranks > 0.0 || self.modules > 0.0
    }
}

/// A value for the layers that a pattern names.
#[derive(Debug, Clone)]
pub struct Rule<T> {
    pattern: GlobMatcher,
    value: T,
}

impl<T> Rule<T> {
    /// A value for the layers whose path fits the pattern: `*` stands for any letters, dots too.
    ///
    /// # Errors
    /// If the pattern is malformed.
    pub fn new(pattern: &str, value: T) -> Result<Self, String> {
        let glob = Glob::new(pattern).map_err(|e| e.to_string())?;
        Ok(Self {
            pattern: glob.compile_matcher(),
            value,
        })
    }

    /// The pattern's text.
    #[must_use]
    pub fn text(&self) -> &str {
        self.pattern.glob().glob()
    }

    /// Whether the path fits.
    #[must_use]
    pub fn fits(&self, path: &str) -> bool {
        self.pattern.is_match(path)
    }

    /// The value of the longest pattern that fits.
    #[must_use]
    pub fn longest<'a>(rules: &'a [Self], path: &str) -> Option<&'a T> {
        let fitting = rules.iter().filter(|rule| rule.fits(path));
        fitting.max_by_key(|rule| rule.text().len()).map(|rule| &rule.value)
    }
}

/// What a fresh adapter is to be.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// The kind.
    pub algo: Algo,
    /// Rank and alpha of linear layers and 1×1 convolutions.
    pub size: (usize, f64),
    /// Rank and alpha of larger convolutions; those of `size` where there are none and a pattern names such a layer.
    pub conv: Option<(usize, f64)>,
    /// Whether larger convolutions have a Tucker core.
    pub tucker: bool,
    /// Whether it has DoRA's lengths of the output's channels.
    pub dora: bool,
    /// Whether alpha is divided by the root of the rank (rsLoRA, arXiv:2312.03732).
    pub rank_stabilised: bool,
    /// How it starts.
    pub start: Start,
    /// What is left out in training.
    pub drop: Drop,
    /// The layers, where no pattern names them.
    pub targets: Targets,
    /// Layers by name in the place of `targets`, of all linear layers and convolutions.
    pub include: Vec<Rule<()>>,
    /// Layers that get none.
    pub exclude: Vec<Rule<()>>,
    /// Other ranks.
    pub ranks: Vec<Rule<usize>>,
    /// Other alphas.
    pub alphas: Vec<Rule<f64>>,
    /// Factors on the learning rate.
    pub rates: Vec<Rule<f64>>,
}

impl Recipe {
    /// A plain LoRA as kohya's `networks.lora` makes it.
    #[must_use]
    pub fn lora(rank: usize, alpha: f64) -> Self {
        Self {
            algo: Algo::Lora,
            size: (rank, alpha),
            conv: None,
            tucker: false,
            dora: false,
            rank_stabilised: false,
            start: Start::Kaiming,
            drop: Drop::default(),
            targets: Targets::Attention,
            include: Vec::new(),
            exclude: Vec::new(),
            ranks: Vec::new(),
            alphas: Vec::new(),
            rates: Vec::new(),
        }
    }

    /// Whether the layer at `path` gets an update.
    pub(super) fn covers(&self, path: &str) -> bool {
        let named = |rules: &[Rule<()>]| rules.iter().any(|rule| rule.fits(path));
        let text = ["text_encoder.", "text_encoder_2."];
        let chosen = match (
            self.include.as_slice(),
            text.iter().find_map(|part| path.strip_prefix(part)),
        ) {
            ([], None) => self.targets.covers(path),
            ([], Some(path)) => Targets::Text.covers(path),
            (include, _) => named(include),
        };
        chosen && !named(&self.exclude)
    }

    /// Rank and scale of the update of the layer at `path`, whose kernel is `k` wide.
    pub(super) fn size(&self, path: &str, k: usize) -> (usize, f64) {
        let (rank, alpha) = match self.conv {
            Some(conv) if k > 1 => conv,
            _ => self.size,
        };
        let rank = Rule::longest(&self.ranks, path).copied().unwrap_or(rank).max(1);
        let alpha = Rule::longest(&self.alphas, path).copied().unwrap_or(alpha);
        let over = match self.rank_stabilised {
            true => (rank as f64).sqrt(),
            false => rank as f64,
        };
        (rank, alpha / over)
    }

    /// Factor on the learning rate of a parameter, whose name is `PATH.TENSOR` or `PATH.TENSOR.weight`.
    #[must_use]
    pub fn rate(&self, name: &str) -> f64 {
        let bare = name.strip_suffix(".weight").unwrap_or(name);
        let path = bare.rsplit_once('.').map_or(bare, |(path, _)| path);
        Rule::longest(&self.rates, path).copied().unwrap_or(1.0)
    }

    /// The first pattern that fits none of these paths.
    pub(super) fn idle(&self, paths: &[String]) -> Option<&str> {
        fn idle<'a, T>(rules: &'a [Rule<T>], paths: &[String]) -> Option<&'a str> {
            let fits = |rule: &&Rule<T>| paths.iter().any(|path| rule.fits(path));
            rules.iter().find(|rule| !fits(rule)).map(Rule::text)
        }
        idle(&self.include, paths)
            .or_else(|| idle(&self.exclude, paths))
            .or_else(|| idle(&self.ranks, paths))
            .or_else(|| idle(&self.alphas, paths))
            .or_else(|| idle(&self.rates, paths))
    }
}

/// The two numbers whose product is `n`, the smaller first: `factor` where it divides, or else the two that are nearest
/// to each other with the smaller at most `factor`; as LyCORIS' `factorization`.
#[must_use]
pub fn factorization(n: usize, factor: i64) -> (usize, usize) {
    let limit = usize::try_from(factor).ok().filter(|f| *f > 0);
    if let Some(f) = limit.filter(|f| n.is_multiple_of(*f)) {
        return (f.min(n / f), f.max(n / f));
    }
    let limit = limit.unwrap_or(n);
    let root = (1..=n.isqrt().min(limit)).rev();
    let small = root.into_iter().find(|m| n.is_multiple_of(*m)).unwrap_or(1);
    (small, n / small)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divides_as_lycoris_does() {
        // What LyCORIS' own function gives.
        for (n, expected) in [
            (127, [(1, 127); 5]),
            (128, [(8, 16), (2, 64), (4, 32), (8, 16), (8, 16)]),
            (250, [(10, 25), (2, 125), (2, 125), (5, 50), (10, 25)]),
            (360, [(18, 20), (2, 180), (4, 90), (8, 45), (15, 24)]),
            (512, [(16, 32), (2, 256), (4, 128), (8, 64), (16, 32)]),
            (1024, [(32, 32), (2, 512), (4, 256), (8, 128), (16, 64)]),
        ] {
            for (factor, pair) in [-1, 2, 4, 8, 16].into_iter().zip(expected) {
                assert_eq!(factorization(n, factor), pair, "{n} {factor}");
            }
        }
    }

    #[test]
    fn the_longest_pattern_counts() {
        let rules = [
            Rule::new("*", 1).unwrap(),
            Rule::new("*attn2*", 2).unwrap(),
            Rule::new("mid_block.*", 3).unwrap(),
        ];
        for (path, expected) in [
            ("conv_in", 1),
            ("up_blocks.0.attn2.to_q", 2),
            ("mid_block.attn2.to_q", 3),
        ] {
            assert_eq!(Rule::longest(&rules, path), Some(&expected), "{path}");
        }
        assert!(Rule::new("a[", 0).is_err());
    }
}
