//! May this request be carried now? In: who asks, and what for. Out: the limits that hold for them, and the
//! refusals in the contract's words.

pub mod overrides;
pub mod quota;
pub mod refusal;
pub mod tiers;
