//! One rank of many as `plan --rehearse` measures it.

use serde_json::Value;

use super::{Args, Measure, Measuring, Step, planned};
use crate::comm::Comm;
use crate::cost::network::Network;
use crate::device::host::Instructions;
use crate::error::Result;
use crate::job::Job;

/// A step of a rank of many.
pub(crate) struct Rehearsal<'a> {
    pub(crate) job: &'a Job,
    pub(crate) name: &'a str,
    pub(crate) ranks: usize,
    pub(crate) rank: usize,
    pub(crate) threads: usize,
    pub(crate) network: Network,
    pub(crate) step: Step,
    /// Of the sample, about.
    pub(crate) seconds: f64,
}

impl Rehearsal<'_> {
    /// The job as it is measured: nothing validates.
    ///
    /// # Errors
    /// Exit 2: it has no plan.
    pub(crate) fn job(&self) -> Result<Job> {
        planned::without_validation(self.job.clone(), self.name, self.threads)
    }

    /// What `bench rank` finds: its figures of the step, and what they rest on.
    ///
    /// # Errors
    /// As `bench rank`.
    pub(crate) fn measure(&self) -> Result<(Value, Vec<String>)> {
        let args = Args {
            job: self.name.into(),
            ranks: self.ranks,
            threads: self.threads,
            rank: Some(self.rank),
            network: self.network,
            steps: vec![self.step],
            seconds: self.seconds,
            windows: None,
            rest: None,
            overrides: Vec::new(),
        };
        let kernel = Instructions::parse("auto").expect("a name of ours");
        let measuring = Measuring { repeat: 1, kernel };
        let measure = Measure { measuring: &measuring, args: &args, job: &self.job()? };
        let found = measure.found(&Comm::serial())?;
        Ok((found.steps[0].figures(), found.assumptions(&args)))
    }
}
