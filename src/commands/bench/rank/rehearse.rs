//! One rank of many as `plan --rehearse` measures it.

use std::rc::Rc;

use serde_json::Value;

use super::report::Measured;
use super::{Args, Measure, Measuring, Pool, Step};
use crate::comm::Comm;
use crate::cost::network::Network;
use crate::device::host::Instructions;
use crate::error::Result;
use crate::job::Job;

/// Steps of a rank of many.
pub(crate) struct Rehearsal<'a> {
    /// Without rows that validate, as `planned::without_validation` makes it.
    pub(crate) job: &'a Job,
    pub(crate) name: &'a str,
    pub(crate) ranks: usize,
    pub(crate) rank: usize,
    pub(crate) threads: usize,
    pub(crate) network: Network,
    pub(crate) pool: Rc<Pool>,
    pub(crate) steps: Vec<Step>,
    /// Of the sample of each step, about.
    pub(crate) seconds: f64,
}

impl Rehearsal<'_> {
    /// What `bench rank` finds: its figures of each step, and what they rest on.
    ///
    /// # Errors
    /// As `bench rank`.
    pub(crate) fn measure(&self) -> Result<(Vec<Value>, Vec<String>)> {
        let args = Args {
            job: self.name.into(),
            ranks: self.ranks,
            threads: self.threads,
            rank: Some(self.rank),
            network: self.network,
            steps: self.steps.clone(),
            seconds: self.seconds,
            windows: None,
            rest: None,
            overrides: Vec::new(),
        };
        let kernel = Instructions::parse("auto").expect("a name of ours");
        let measuring = Measuring { repeat: 1, kernel };
        let pool = self.pool.clone();
        let measure = Measure { measuring: &measuring, args: &args, job: self.job, pool };
        let found = measure.found(&Comm::serial())?;
        Ok((found.steps.iter().map(Measured::figures).collect(), found.assumptions(&args)))
    }
}
