//! What would make a run faster or cheaper, by what one of its starts has measured. Each line has
//! the gain to be expected; what gains little, and runs too short to tell, get none.

use serde_json::{Value, json};

use crate::human::counted;
use crate::report::{Timer, WINDOW_WAITS};
use crate::train::LongerWindow;

/// Lines at most, and the share of the time that one must save at least.
const LINES: usize = 3;
const LEAST_GAIN: f64 = 0.05;
/// A start that is shorter, in seconds, has measured nothing to go by; REELSCALE_ADVICE_SECONDS is
/// for tests.
const SECONDS_LEAST: f64 = 10.0;
/// Ranks don't pay where they exchange for this share of the time, or more.
const EXCHANGES: f64 = 0.5;
/// What of the expert step two threads lose that share a class block instead of taking one each:
/// found 7 to 23 % (docs/report.md).
const SHARED_BLOCKS: f64 = 0.15;

/// Whether so many seconds say something.
pub(super) fn is_long_enough(seconds: f64) -> bool {
    let least = std::env::var("REELSCALE_ADVICE_SECONDS").ok();
    seconds >= least.and_then(|text| text.parse().ok()).unwrap_or(SECONDS_LEAST)
}

/// A line of advice.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Advice {
    /// What it is about: a word for programs.
    pub(super) about: &'static str,
    /// What to do, and the gain.
    pub(super) text: String,
    /// Share of the time that is saved, or where ranks don't pay of the rank-hours.
    pub(super) gain: f64,
}

impl Advice {
    pub(super) fn json(&self) -> Value {
        let gain = (self.gain * 1e3).round() / 1e3;
        json!({ "about": self.about, "text": self.text, "gain": gain })
    }
}

/// What a start has measured, on all ranks.
#[derive(Clone, Debug, Default)]
pub(super) struct Measured<'a> {
    pub(super) seconds: f64,
    pub(super) timers: &'a [Timer],
    /// Of each rank: cores that it may run on, and its share of those that its launcher may use,
    /// where that is known.
    pub(super) cores: Vec<[u64; 2]>,
    /// Class blocks and row blocks of each rank.
    pub(super) class_blocks: Vec<usize>,
    pub(super) row_blocks: Vec<usize>,
    /// Threads of a rank that take class blocks through mini-batches; 0: none do.
    pub(super) threads: usize,
    /// Class blocks of the model that are wide enough.
    pub(super) class_blocks_most: usize,
    /// Whether ranks are a grid of several rows, which deals class blocks to columns.
    pub(super) grid: bool,
    /// What the job's window of the expert step could be instead.
    pub(super) longer_window: Option<LongerWindow>,
    /// Whether all ranks pretrain.
    pub(super) all_pretrain: bool,
    pub(super) balanced: bool,
}

impl Measured<'_> {
    /// At most three lines, the largest gain first.
    pub(super) fn advice(&self) -> Vec<Advice> {
        if !is_long_enough(self.seconds) {
            return Vec::new();
        }
        let of_blocks = [self.threads(), self.window()];
        let all = [self.bound(), self.input(), self.imbalance(), self.ranks()];
        let all = all.into_iter().chain(of_blocks);
        let mut all: Vec<Advice> = all.flatten().filter(|one| one.gain >= LEAST_GAIN).collect();
        all.sort_by(|a, b| b.gain.total_cmp(&a.gain));
        all.truncate(LINES);
        all
    }

    fn ranks_count(&self) -> usize {
        self.class_blocks.len().max(1)
    }

    /// Every rank's seconds of a timer.
    fn timer(&self, name: &str) -> Vec<f64> {
        let found = self.timers.iter().find(|timer| timer.0 == name);
        found.map_or_else(|| vec![0.0; self.ranks_count()], |timer| timer.1.clone())
    }

    /// Seconds in which each rank neither waits for others nor for rows, in a step.
    fn busy(&self, step: &str) -> Vec<f64> {
        let waits = self.timer(&format!("{step}/communication wait"));
        let reads = self.timer(&format!("{step}/input wait"));
        let all = self.timer(step).into_iter().zip(waits).zip(reads);
        all.map(|((whole, wait), read)| (whole - wait - read).max(0.0)).collect()
    }

    /// Ranks bound to fewer cores than there are for them.
    fn bound(&self) -> Option<Advice> {
        let share = |[cores, share]: &[u64; 2]| *cores as f64 / (*share).max(1) as f64;
        let worst = self.cores.iter().min_by(|a, b| share(a).total_cmp(&share(b)))?;
        let [cores, there] = *worst;
        if there <= cores {
            return None;
        }
        let steps = ["pretrain", "experts", "shared"];
        let busy: f64 = steps.iter().map(|step| most(&self.busy(step))).sum();
        let gain = busy * (1.0 - share(worst)) / self.seconds;
        let (cores, percent) = (counted(cores, "core"), percent(gain));
        let text = format!(
            "ranks are bound to {cores} each where there are {there} for each: `mpirun --bind-to \
             none` saves up to {percent} of the time"
        );
        Some(Advice { about: "binding", text, gain })
    }

    /// Rows that come slower than they are worked on.
    fn input(&self) -> Option<Advice> {
        let gain = most(&self.timer("input wait")) / self.seconds;
        let percent = percent(gain);
        let text = format!(
            "ranks wait for rows: a faster disk, or shards copied to the node, saves up to \
             {percent} of the time (`reelscale bench input` measures it)"
        );
        Some(Advice { about: "input", text, gain })
    }

    /// What the rank that takes longest for each step loses by that, as a share of the time:
    /// pretraining, expert step and shared step.
    fn over(&self) -> [f64; 3] {
        ["pretrain", "experts", "shared"].map(|step| match step {
            // Some ranks wait there, whoever has which blocks.
            "pretrain" if !self.all_pretrain => 0.0,
            step => {
                let busy = self.busy(step);
                (most(&busy) - mean(&busy)) / self.seconds
            }
        })
    }

    /// Class blocks that don't come out even, where the expert step loses most by that.
    fn uneven_classes(&self) -> Option<usize> {
        let [pretrain, experts, shared] = self.over();
        let here = !self.grid && !self.balanced && experts >= shared + pretrain;
        uneven(&self.class_blocks).filter(|_| here)
    }

    /// Ranks that have more to do than others, or compute slower.
    fn imbalance(&self) -> Option<Advice> {
        if self.ranks_count() == 1 {
            return None;
        }
        let gain = self.over().into_iter().sum();
        let percent = percent(gain);
        let ranks = counted(self.ranks_count() as u64, "rank");
        let rows = uneven(&self.row_blocks).filter(|_| !self.balanced);
        let (about, text) = match (self.uneven_classes(), rows) {
            (Some(count), _) => match self.block_a_thread() {
                Some(blocks) => return Some(self.uneven_and_shared(count, blocks, gain)),
                None => ("blocks", uneven_text("class", count, &ranks, &percent)),
            },
            (_, Some(count)) => ("blocks", uneven_text("row", count, &ranks, &percent)),
            _ if self.balanced => return None,
            _ => (
                "imbalance",
                format!(
                    "ranks don't compute alike fast: run.balance = \"measured\" saves up to \
                     {percent} of the time"
                ),
            ),
        };
        Some(Advice { about, text, gain })
    }

    /// Class blocks of which each thread gets one, where the fullest rank has fewer than threads,
    /// which share them.
    fn block_a_thread(&self) -> Option<usize> {
        let fullest = self.fullest();
        let blocks = self.ranks_count() * self.threads;
        let shared = !self.grid && fullest > 0 && fullest < self.threads;
        (shared && self.class_blocks_most >= blocks).then_some(blocks)
    }

    /// Class blocks of the rank that has most.
    fn fullest(&self) -> usize {
        self.class_blocks.iter().copied().max().unwrap_or(0)
    }

    /// Class blocks that neither come out even nor suffice for all threads: one number mends both.
    fn uneven_and_shared(&self, count: usize, blocks: usize, uneven: f64) -> Advice {
        let gain = uneven + SHARED_BLOCKS * mean(&self.busy("experts")) / self.seconds;
        let ranks = counted(self.ranks_count() as u64, "rank");
        let (threads, fullest, percent) = (self.threads, self.fullest(), percent(gain));
        let text = format!(
            "class blocks, {count}, don't come out even on {ranks}, and {threads} threads of one \
             share {fullest}: run.class_blocks = {blocks}, one a thread, saves up to {percent} of \
             the time (other bits)"
        );
        Advice { about: "blocks", text, gain }
    }

    /// Ranks of fewer class blocks than threads, which share them. Where the blocks don't come out
    /// even either, `imbalance` names the number that mends both.
    fn threads(&self) -> Option<Advice> {
        let blocks = self.block_a_thread().filter(|_| self.uneven_classes().is_none())?;
        let gain = SHARED_BLOCKS * most(&self.busy("experts")) / self.seconds;
        let (threads, percent) = (self.threads, percent(gain));
        let shared = counted(self.fullest() as u64, "class block");
        let text = format!(
            "{threads} threads of a rank share {shared}: run.class_blocks = {blocks}, one a \
             thread, saves about {percent} of the time (other bits)"
        );
        Some(Advice { about: "threads", text, gain })
    }

    /// Windows so short that ranks wait for messages at each of them.
    fn window(&self) -> Option<Advice> {
        let LongerWindow { rows, count, longer_count } = self.longer_window?;
        let fewer = 1.0 - longer_count as f64 / count as f64;
        let gain = fewer * least(&self.timer(WINDOW_WAITS)) / self.seconds;
        let percent = percent(gain);
        let text = format!(
            "ranks wait for messages in each of {count} windows an epoch: experts.window = {rows} \
             saves up to {percent} of the time (a new run, the same bits)"
        );
        Some(Advice { about: "window", text, gain })
    }

    /// More ranks than pay: they exchange more than they compute.
    fn ranks(&self) -> Option<Advice> {
        let (ranks, wait) = (self.ranks_count(), least(&self.timer("communication wait")));
        let share = wait / self.seconds;
        if ranks < 2 || share < EXCHANGES {
            return None;
        }
        // Half of the ranks compute twice as long and wait no longer: T' = 2 (1 - w) + w for T = 1.
        let gain = share / 2.0;
        let (half, [wait, saved]) = (ranks / 2, [share, gain].map(percent));
        let text = format!(
            "all {ranks} ranks wait for one another {wait} of the time: {half} would save up to \
             {saved} of the rank-hours"
        );
        Some(Advice { about: "ranks", text, gain })
    }
}

fn uneven_text(kind: &str, count: usize, ranks: &str, percent: &str) -> String {
    format!(
        "{kind} blocks, {count}, don't come out even on {ranks}: as many run.{kind}_blocks as \
         ranks, or some times that, save up to {percent} of the time (other bits)"
    )
}

/// All blocks of ranks that have so many each, where one has a tenth more than its share.
fn uneven(blocks: &[usize]) -> Option<usize> {
    let all: usize = blocks.iter().sum();
    let mean = all as f64 / blocks.len().max(1) as f64;
    let most = blocks.iter().copied().max().unwrap_or(0) as f64;
    (all > 0 && most >= 1.1 * mean).then_some(all)
}

fn mean(seconds: &[f64]) -> f64 {
    seconds.iter().sum::<f64>() / seconds.len().max(1) as f64
}

fn least(seconds: &[f64]) -> f64 {
    let least = seconds.iter().copied().fold(f64::INFINITY, f64::min);
    if least.is_finite() { least } else { 0.0 }
}

fn most(seconds: &[f64]) -> f64 {
    seconds.iter().copied().fold(0.0, f64::max)
}

fn percent(gain: f64) -> String {
    format!("{:.0} %", 100.0 * gain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timers(list: &[(&str, &[f64])]) -> Vec<Timer> {
        list.iter().map(|(name, ranks)| (name.to_string(), ranks.to_vec(), 1)).collect()
    }

    /// Two ranks of 100 s, 90 of them in the expert step.
    fn found(
        more: &[(&str, &[f64])],
        change: impl FnOnce(&mut Measured),
    ) -> Vec<(&'static str, f64)> {
        let timers = timers(&[more, &[("experts", &[90.0, 90.0])]].concat());
        let mut measured = Measured {
            seconds: 100.0,
            timers: &timers,
            cores: vec![[2, 2]; 2],
            class_blocks: vec![4, 4],
            row_blocks: vec![8, 8],
            threads: 2,
            class_blocks_most: 8,
            all_pretrain: true,
            ..Measured::default()
        };
        change(&mut measured);
        let advice = measured.advice();
        advice.iter().map(|one| (one.about, (one.gain * 100.0).round())).collect()
    }

    /// Uneven blocks that threads share: the number that is named comes out even, one a thread.
    #[test]
    fn one_number_of_class_blocks_is_named() {
        let timers = timers(&[("experts", &[90.0, 60.0])]);
        let measured = Measured {
            seconds: 100.0,
            timers: &timers,
            class_blocks: vec![2, 1],
            threads: 4,
            class_blocks_most: 8,
            ..Measured::default()
        };
        let texts: Vec<String> = measured.advice().into_iter().map(|one| one.text).collect();
        let expected = "class blocks, 3, don't come out even on 2 ranks, and 4 threads of one \
                        share 2: run.class_blocks = 8, one a thread, saves up to 26 % of the time \
                        (other bits)";
        assert_eq!(texts, [expected]);
    }

    #[test]
    fn each_advice_is_given_by_its_numbers_only() {
        assert_eq!(found(&[], |_| {}), []);
        assert_eq!(found(&[], |it| it.cores[1] = [1, 4]), [("binding", 68.0)]);
        assert_eq!(found(&[("input wait", &[3.0, 12.0])], |_| {}), [("input", 12.0)]);
        assert_eq!(found(&[("input wait", &[3.0, 4.0])], |_| {}), []);
        let idle: (&str, &[f64]) = ("experts/communication wait", &[0.0, 40.0]);
        assert_eq!(found(&[idle], |_| {}), [("imbalance", 20.0)]);
        assert_eq!(found(&[idle], |it| it.class_blocks = vec![2, 1]), [("blocks", 20.0)]);
        assert_eq!(found(&[idle], |it| it.balanced = true), []);
        assert_eq!(found(&[], |it| it.class_blocks = vec![1, 1]), [("threads", 14.0)]);
        assert_eq!(found(&[], |it| (it.class_blocks, it.threads) = (vec![1, 1], 0)), []);
        assert_eq!(found(&[], |it| (it.class_blocks, it.grid) = (vec![1, 1], true)), []);
        let narrow = |it: &mut Measured| {
            (it.class_blocks, it.class_blocks_most) = (vec![1, 1], 3);
        };
        assert_eq!(found(&[], narrow), []);
        let short = |it: &mut Measured| {
            (it.class_blocks, it.threads, it.class_blocks_most) = (vec![2, 1], 4, 8);
        };
        let narrower = |it: &mut Measured| {
            (it.class_blocks, it.threads, it.class_blocks_most) = (vec![2, 1], 4, 7);
        };
        // Uneven and shared: one advice with one number, not two. 15 + 0.15 x 75.
        let idle: (&str, &[f64]) = ("experts/communication wait", &[0.0, 30.0]);
        assert_eq!(found(&[idle], short), [("blocks", 26.0)]);
        assert_eq!(found(&[idle], narrower), [("blocks", 15.0)]);
        let all: (&str, &[f64]) = ("communication wait", &[80.0, 84.0]);
        assert_eq!(found(&[all], |_| {}), [("ranks", 40.0)]);
        assert_eq!(found(&[("communication wait", &[40.0, 84.0])], |_| {}), []);
        assert_eq!(found(&[all], |it| it.seconds = 1.0), []);
        let messages = [(WINDOW_WAITS, &[24.0, 20.0][..])];
        let longer = LongerWindow { rows: 8192, count: 10, longer_count: 2 };
        assert_eq!(found(&messages, |_| {}), []);
        assert_eq!(found(&messages, |it| it.longer_window = Some(longer)), [("window", 16.0)]);
        let hardly = LongerWindow { longer_count: 8, ..longer };
        assert_eq!(found(&messages, |it| it.longer_window = Some(hardly)), []);
    }
}
