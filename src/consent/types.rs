//! The words that consent is spoken in, each with its one stable name.

/// A word that is not one of those expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {what} ({expected}), got `{found}`")]
pub struct UnknownWord {
    /// What kind of word it is.
    pub what: &'static str,
    /// The words there are.
    pub expected: String,
    /// The word that was given.
    pub found: String,
}

/// Defines an enum of words with one stable name each.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident, $what:literal, { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$doc])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The stable name that files, the registry and the command line hold.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word,)+ }
            }

            /// The value of this stable name, if there is one.
            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.as_str() == word)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::consent::UnknownWord;

            fn from_str(word: &str) -> Result<Self, $crate::consent::UnknownWord> {
                Self::parse(word).ok_or_else(|| $crate::consent::UnknownWord {
                    what: $what,
                    expected: Self::ALL.iter().map(|value| value.as_str()).collect::<Vec<_>>().join(", "),
                    found: word.to_string(),
                })
            }
        }
    };
}

pub(super) use words;

words! {
    /// What a picture is to be used for, as in the CAWG training and data-mining assertion.
    Purpose, "a purpose", {
        /// Training a model that does not make new works.
        AiTraining = "ai_training",
        /// Training a model that makes new works.
        AiGenerativeTraining = "ai_generative_training",
        /// Text and data mining.
        DataMining = "data_mining",
        /// Input to a model that is already trained.
        AiInference = "ai_inference",
    }
}

words! {
    /// What a grant is for.
    Scope, "a scope", {
        /// Use that earns nothing.
        Personal = "personal",
        /// Use that may earn.
        Commercial = "commercial",
    }
}

words! {
    /// What the evidence says about a purpose, before any policy.
    State, "a state", {
        /// Somebody who may say so allowed it.
        Granted = "granted",
        /// Somebody refused it.
        Denied = "denied",
        /// Allowed under conditions that are not known to be met.
        Constrained = "constrained",
        /// Nobody said anything that counts. A policy, not the code, says what that means.
        Unspecified = "unspecified",
    }
}

words! {
    /// How far the origin of a statement is proven.
    Authentication, "an authentication", {
        /// Nothing signs it, as in plain XMP.
        None = "none",
        /// It is signed, and the signature does not verify: never a grant.
        Invalid = "invalid",
        /// It is signed and the signature verifies.
        Signed = "signed",
        /// It is signed by a key on the user's trust list.
        Trusted = "trusted",
    }
}

words! {
    /// What must be done, or left undone, when a picture under some licence is used; it follows the adapter.
    Obligation, "an obligation", {
        /// Name the author.
        Attribution = "attribution",
        /// Share what is made from it under the same terms.
        ShareAlike = "share_alike",
        /// No commercial use.
        NonCommercial = "non_commercial",
        /// No changed versions.
        NoDerivatives = "no_derivatives",
        /// Keep the notice of the licence with it.
        Notice = "notice",
    }
}

words! {
    /// What the result of a training is made for.
    Use, "a use", {
        /// One's own use that earns nothing.
        Personal = "personal",
        /// Use that may earn.
        Commercial = "commercial",
        /// Scientific research that earns nothing.
        Research = "research",
    }
}

words! {
    /// What proves who gave a grant of the ledger.
    GrantProof, "a proof of who gave a grant", {
        /// The user recorded it here.
        Own = "own",
        /// It is signed and the signature verifies.
        Signed = "signed",
        /// It is signed by a key on the user's trust list.
        Trusted = "trusted",
    }
}
