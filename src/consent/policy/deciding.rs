//! Which line of a policy decided.

use super::{Policy, PolicyLine};
use crate::consent::{Decision, ReasonCode};

impl Policy {
    /// The line that decided: the one the file holds, or the default that holds where it says nothing. None when the
    /// rules decided that stand above every policy (denials, conditions, rejections).
    pub fn deciding_line(&self, decision: &Decision) -> Option<PolicyLine> {
        use ReasonCode::*;
        let read = |rule: &str| decision.trace.iter().any(|line| line.rule == rule);
        let (key, default) = match decision.reason_code {
            DeniedByArtist | DeniedBySignal | DeniedNearDuplicate | Constrained | RejectedInReview | FileMissing
            | NotSelected => return None,
            GrantedByArtist => ("grants.ledger", "true"),
            GrantedBySignal => ("grants.signals", "[]"),
            GrantNotAuthenticated if read("grant_read_too_long_ago") => ("grants.max_age_days", "none"),
            GrantNotAuthenticated => ("grants.signals", "[]"),
            OwnWork => ("own.artists", "[]"),
            StatutoryException => ("exception.article", "none"),
            UnspecifiedAccepted | Unspecified => ("unspecified", "\"refuse\""),
            LicenseAccepted => return self.line_of_license(decision),
            LicenseNotProven => ("licenses.sources", "[]"),
            LicenseMissing | LicenseNotAccepted if read("license_for_commercial_use_not_accepted") => ("use", "none"),
            LicenseMissing | LicenseNotAccepted => ("licenses.accept", "{}"),
            AiGenerated => ("refuse.ai_generated", "true"),
            NeedsReview => ("refuse.needs_review", "true"),
            NamesOptedOutArtist => ("refuse.names_opted_out_artist", "true"),
            CaptionMissing => ("refuse.without_caption", "false"),
            Duplicate => ("refuse.duplicates", "true"),
            AttributionMissing if read("author_missing") && self.require_author => {
                ("attribution.require_author", "false")
            }
            AttributionMissing if read("title_missing") && self.require_title => ("attribution.require_title", "false"),
            AttributionMissing => ("exception.duty", "[]"),
            PolicyNotInForce => match self.valid_until {
                Some(_) if read("policy_ended") => ("valid_until", "none"),
                _ => ("valid_from", "none"),
            },
        };
        let default = || PolicyLine {
            line: None,
            text: format!("{key} = {default}"),
        };
        Some(self.line(key).unwrap_or_else(default))
    }

    /// The line of the licence that is used; of several, the one that obliges to most.
    fn line_of_license(&self, decision: &Decision) -> Option<PolicyLine> {
        let used = |id: &String| {
            decision
                .licenses
                .iter()
                .any(|used| used.trim_end_matches('+') == id.trim_end_matches('+'))
        };
        let entry = self.licenses.iter().rev().find(|entry| used(&entry.id));
        let key = entry.map(|entry| format!("licenses.accept.{}", entry.id));
        self.line(key.as_deref().unwrap_or("licenses.accept"))
    }
}
