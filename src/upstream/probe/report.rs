//! What a probe found: one finding per question, in the order they were asked, and how the questions are
//! put. A question that nothing sensible can come of any more is not asked, and the finding says why.

use super::clean::Cleaned;
use super::conclusion::Conclusion;

/// All that one run found out.
#[derive(Debug)]
pub struct Report {
    pub findings: Vec<Finding>,
    pub conclusion: Conclusion,
    pub cleaned: Cleaned,
    /// It was told to stop before its end.
    pub stopped: bool,
}

#[derive(Debug)]
pub struct Finding {
    /// Stable, for programs: `list.v2`.
    pub name: &'static str,
    pub tried: &'static str,
    pub outcome: Outcome,
    pub came: String,
    pub stake: Stake,
    /// The setting of the configuration that follows from it, or what else to do.
    pub setting: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    Yes,
    No,
    NotTried,
}

/// What hangs on an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stake {
    /// The gateway cannot work without it.
    Gateway,
    /// What clients lose without it.
    Clients(&'static str),
    /// Nothing: the gateway does without it.
    Nobody,
}

/// The answer to one question.
pub(super) struct Verdict {
    outcome: Outcome,
    came: String,
    setting: Option<String>,
}

impl Verdict {
    pub(super) fn yes(came: impl Into<String>) -> Self {
        Self::is(true, came)
    }

    pub(super) fn no(came: impl Into<String>) -> Self {
        Self::is(false, came)
    }

    pub(super) fn is(yes: bool, came: impl Into<String>) -> Self {
        let outcome = if yes { Outcome::Yes } else { Outcome::No };
        Self { outcome, came: came.into(), setting: None }
    }

    #[must_use]
    pub(super) fn setting(self, setting: impl Into<String>) -> Self {
        Self { setting: Some(setting.into()), ..self }
    }
}

/// Why a question has no answer of its own.
#[derive(Debug)]
pub(super) enum Cut {
    /// The run is to end.
    Stopped,
    /// The run's time is up.
    OutOfTime,
    /// The upstream gave no answer, for this reason.
    Silent(String),
    /// What had to be done first did not work, or there is nothing to ask.
    Step(String),
}

pub(super) type Tried<T = Verdict> = Result<T, Cut>;

/// The findings while they come in.
#[derive(Default)]
pub(super) struct Run {
    pub(super) findings: Vec<Finding>,
    /// Why nothing further is asked.
    blocked: Option<String>,
    pub(super) stopped: bool,
}

impl Run {
    /// Asks, unless it makes no sense any more. Whether the answer was yes.
    pub(super) async fn ask(
        &mut self,
        name: &'static str,
        tried: &'static str,
        stake: Stake,
        question: impl Future<Output = Tried>,
    ) -> bool {
        let answer = match &self.blocked {
            Some(reason) => Err(Cut::Step(reason.clone())),
            // On the heap, because many of these stand in one future.
            None => Box::pin(question).await,
        };
        let (outcome, came, setting) = match answer {
            Ok(Verdict { outcome, came, setting }) => (outcome, came, setting),
            Err(Cut::Silent(reason)) => (Outcome::No, reason, None),
            Err(Cut::Step(reason)) => (Outcome::NotTried, reason, None),
            Err(Cut::OutOfTime) => (Outcome::NotTried, self.block("the time of the probe is up"), None),
            Err(Cut::Stopped) => {
                self.stopped = true;
                (Outcome::NotTried, self.block("stopped by a signal"), None)
            }
        };
        self.findings.push(Finding { name, tried, outcome, came, stake, setting });
        outcome == Outcome::Yes
    }

    /// What follows needs nothing of what came before.
    pub(super) fn unblock(&mut self) {
        self.blocked = None;
    }

    /// From here on nothing is asked.
    pub(super) fn block(&mut self, reason: &str) -> String {
        self.blocked.get_or_insert_with(|| reason.to_owned()).clone()
    }
}
