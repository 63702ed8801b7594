//! The words of a finding: its stable code, and how bad it is.

use serde::Serialize;

/// What was found. The names are stable: other programs rely on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// An image that trained the adapter may not be used any more.
    ConsentWithdrawn,
    /// The weights are not those the receipt or the registry names.
    TensorsChanged,
    /// The header is not the one the receipt or the registry names.
    HeaderChanged,
    /// The receipt is not the one whose digest stands beside it, or that the registry names.
    ReceiptChanged,
    /// The adapter carries no receipt.
    ReceiptMissing,
    /// The adapter was computed from others, whose receipts say what trained it.
    DerivedAdapter,
    /// The file does not parse as an adapter.
    AdapterMalformed,
    /// The registry does not hold what the receipt was made from.
    RegistryChanged,
    /// The chain of the consent ledger does not hold.
    LedgerBroken,
    /// The transparency log does not hold what is here, or does not continue a head that was signed.
    LogBroken,
    /// Something is dated before what it must follow, or after now.
    ClockBack,
    /// The registry knows no snapshot of the receipt's root.
    SnapshotUnknown,
    /// The registry does not know the adapter.
    AdapterUnknown,
    /// An image's file is gone.
    FileMissing,
    /// An image's file holds other bytes.
    FileChanged,
    /// A picture carries no label.
    LabelMissing,
    /// Nobody signed a picture's label, and the registry did not record the file.
    LabelUnsigned,
    /// The label of a picture that the registry recorded was taken off.
    LabelRemoved,
    /// The parts of a label contradict each other, or what the registry recorded.
    LabelChanged,
    /// A picture's manifest does not verify.
    ManifestInvalid,
    /// A picture's bytes are not those that were signed or recorded.
    PictureChanged,
    /// A key that nobody trusts signed a picture or a receipt.
    SignerUntrusted,
    /// The adapter draws a picture again that it was trained on.
    PictureMemorised,
    /// The adapter draws a picture again that it was not trained on, as its receipt has it.
    RefusedReproduced,
    /// The adapter knows an artist's pictures, which were kept out, as well as those that it was trained on.
    RefusedLearned,
    /// Another key signed than the one that was asked for, or none did.
    SignerOther,
    /// The signature of a receipt, in the header or beside the file, shows nothing.
    SignatureInvalid,
    /// Another adapter takes its place: the same run without some of its pictures. An error where one of them may not be
    /// used any more.
    AdapterSuperseded,
    /// The adapter whose place it takes is not as it says, or did not have all its pictures.
    SuccessionBroken,
    /// A picture trained several shards, so that dropping one of them does not forget it.
    ShardsOverlap,
}

impl Code {
    /// Its stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::ConsentWithdrawn => "consent_withdrawn",
            Code::TensorsChanged => "tensors_changed",
            Code::HeaderChanged => "header_changed",
            Code::ReceiptChanged => "receipt_changed",
            Code::ReceiptMissing => "receipt_missing",
            Code::DerivedAdapter => "derived_adapter",
            Code::AdapterMalformed => "adapter_malformed",
            Code::RegistryChanged => "registry_changed",
            Code::LedgerBroken => "ledger_broken",
            Code::LogBroken => "log_broken",
            Code::ClockBack => "clock_back",
            Code::SnapshotUnknown => "snapshot_unknown",
            Code::AdapterUnknown => "adapter_unknown",
            Code::FileMissing => "file_missing",
            Code::FileChanged => "file_changed",
            Code::LabelMissing => "label_missing",
            Code::LabelUnsigned => "label_unsigned",
            Code::LabelRemoved => "label_removed",
            Code::LabelChanged => "label_changed",
            Code::ManifestInvalid => "manifest_invalid",
            Code::PictureChanged => "picture_changed",
            Code::SignerUntrusted => "signer_untrusted",
            Code::PictureMemorised => "picture_memorised",
            Code::RefusedReproduced => "refused_reproduced",
            Code::RefusedLearned => "refused_learned",
            Code::SignerOther => "signer_other",
            Code::SignatureInvalid => "signature_invalid",
            Code::AdapterSuperseded => "adapter_superseded",
            Code::SuccessionBroken => "succession_broken",
            Code::ShardsOverlap => "shards_overlap",
        }
    }

    /// How bad it is.
    pub fn severity(self) -> Severity {
        match self {
            Code::TensorsChanged
            | Code::HeaderChanged
            | Code::ReceiptChanged
            | Code::ReceiptMissing
            | Code::AdapterMalformed
            | Code::RegistryChanged
            | Code::LedgerBroken
            | Code::LogBroken
            | Code::LabelRemoved
            | Code::LabelChanged
            | Code::ManifestInvalid
            | Code::PictureChanged
            | Code::SignerOther
            | Code::SignatureInvalid
            | Code::SuccessionBroken
            | Code::ShardsOverlap => Severity::Invalid,
            Code::ConsentWithdrawn | Code::RefusedReproduced | Code::RefusedLearned => Severity::Error,
            Code::FileMissing
            | Code::FileChanged
            | Code::ClockBack
            | Code::SnapshotUnknown
            | Code::AdapterUnknown
            | Code::DerivedAdapter
            | Code::LabelMissing
            | Code::LabelUnsigned
            | Code::SignerUntrusted
            | Code::PictureMemorised
            | Code::AdapterSuperseded => Severity::Warning,
        }
    }
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Something cannot be shown any more.
    Warning,
    /// Somebody's refusal reaches the adapter.
    Error,
    /// A link of the proof is broken.
    Invalid,
}

impl Severity {
    /// Its stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Warning => "warning",
            Severity::Error => "error",
            Severity::Invalid => "invalid",
        }
    }
}

/// One thing that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// What it is.
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// What it is about: `adapter:…`, `picture:…`, `image:…`, `snapshot:…`, `run:…`, `shard:…`, `composition:…`,
    /// `ledger`, `log`, `registry` or `clock`.
    pub subject: String,
    /// What a person should know.
    pub explanation: String,
}

impl Finding {
    /// A finding of this code, with the code's severity.
    pub fn new(code: Code, subject: impl Into<String>, explanation: impl Into<String>) -> Self {
        Finding {
            code,
            severity: code.severity(),
            subject: subject.into(),
            explanation: explanation.into(),
        }
    }
}
