//! Stints: stretches of work whose length is known before they begin, and how far each has come,
//! for those who tell a user of it from another thread (`report/narrator.rs`).
//!
//! Only what a thread does that has asked for it (`listen`) is kept, rank 0's: elsewhere a stint is
//! nothing, and costs a look at a flag. How far one has come is one relaxed store a window, a
//! mini-batch or a record.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

thread_local! {
    static HEARD: Cell<bool> = const { Cell::new(false) };
}

/// Nanoseconds that the thread which is heard has waited for others and for input.
static WAITED: AtomicU64 = AtomicU64::new(0);
static KNOWN: Mutex<Known> = Mutex::new(Known::new());

/// What is kept of the thread that is heard.
struct Known {
    /// The stints under way, each within the one before it.
    under_way: Vec<Arc<Entry>>,
    /// Seconds that went into how much of one, for each kind of stint that was under way here.
    spent: BTreeMap<&'static str, (f64, f64)>,
    /// What comes after the outermost stint, and how often. `None`: nobody has said.
    after: Option<Vec<(&'static str, f64)>>,
    /// What ranks have worked, as they said first within the outermost stint and last.
    worked: Option<[Vec<u32>; 2]>,
    /// How much of a kind of stint's amount the kernel by itself would take a second.
    kernel: BTreeMap<&'static str, f64>,
}

impl Known {
    const fn new() -> Known {
        Known {
            under_way: Vec::new(),
            spent: BTreeMap::new(),
            after: None,
            worked: None,
            kernel: BTreeMap::new(),
        }
    }
}

/// How long a stint is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Length {
    /// Of what is counted: all of it, from 0 on.
    pub(crate) whole: u64,
    /// What was done before this stint: by a start before, say.
    pub(crate) before: u64,
    /// Parts of equal length that people think in, and what they call one: epochs, iterations.
    pub(crate) parts: (u64, &'static str),
    /// What all of it stands for, in a unit that people know: rows of all ranks, bytes.
    pub(crate) amount: (u64, &'static str),
}

impl Length {
    /// So much of a unit, which is what is counted.
    pub(crate) fn of(whole: u64, unit: &'static str) -> Length {
        Length { whole, before: 0, parts: (1, ""), amount: (whole, unit) }
    }
}

/// A stint under way.
struct Entry {
    kind: &'static str,
    name: String,
    length: Length,
    done: AtomicU64,
    /// Nanoseconds from its beginning until then, and those of them that no stint within it took.
    taken: [AtomicU64; 2],
    began: Instant,
    /// `WAITED` when it began.
    waited: u64,
    /// Nanoseconds that the stints within it have taken which are over.
    within: AtomicU64,
}

/// A stint under way, which ends when this is dropped.
pub(crate) struct Stint(Option<Arc<Entry>>);

impl Stint {
    /// Begins a stint of a `kind`, within those under way. All of a kind take about as long.
    pub(crate) fn begin(kind: &'static str, name: &str, length: Length) -> Stint {
        if !HEARD.get() || length.whole == 0 {
            return Stint(None);
        }
        let entry = Arc::new(Entry {
            kind,
            name: name.to_string(),
            length,
            done: AtomicU64::new(length.before),
            taken: [AtomicU64::new(0), AtomicU64::new(0)],
            began: Instant::now(),
            waited: WAITED.load(Relaxed),
            within: AtomicU64::new(0),
        });
        let mut known = known();
        if known.under_way.is_empty() {
            known.worked = None;
        }
        known.under_way.push(entry.clone());
        drop(known);
        Stint(Some(entry))
    }

    /// So much of it is done, of what `Length::whole` counts.
    pub(crate) fn reach(&self, done: u64) {
        if let Some(entry) = &self.0 {
            entry.done.store(done, Relaxed);
            entry.note();
        }
    }

    /// So much more of it is done.
    pub(crate) fn add(&self, more: u64) {
        if let Some(entry) = &self.0 {
            entry.done.fetch_add(more, Relaxed);
            entry.note();
        }
    }
}

impl Drop for Stint {
    fn drop(&mut self) {
        let Some(entry) = &self.0 else { return };
        let mut known = known();
        known.under_way.retain(|other| !Arc::ptr_eq(other, entry));
        let took = entry.began.elapsed();
        if let Some(around) = known.under_way.last() {
            around.within.fetch_add(took.as_nanos() as u64, Relaxed);
        }
        let (seconds, share) = known.spent.entry(entry.kind).or_default();
        *seconds += took.as_secs_f64();
        *share += entry.share(entry.length.before);
    }
}

impl Entry {
    /// Takes down when this much was done: until more is, time that passes says nothing of speed.
    fn note(&self) {
        let elapsed = self.began.elapsed().as_nanos() as u64;
        self.taken[0].store(elapsed, Relaxed);
        self.taken[1].store(elapsed.saturating_sub(self.within.load(Relaxed)), Relaxed);
    }

    /// How much of all of it was done since `from`: 0 to 1.
    fn share(&self, from: u64) -> f64 {
        self.done.load(Relaxed).saturating_sub(from) as f64 / self.length.whole as f64
    }
}

/// A file that is read from its beginning to its end: what is read of it counts for the innermost
/// stint, if that is one of bytes.
pub(crate) struct Counted<R>(pub(crate) R);

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(buffer)?;
        if HEARD.get()
            && let Some(entry) = known().under_way.last()
            && entry.length.amount.1 == "bytes"
        {
            entry.done.fetch_add(count as u64, Relaxed);
            entry.note();
        }
        Ok(count)
    }
}

/// While this lives, what this thread does is kept.
pub(crate) struct Listening(());

/// Has what this thread does from now on kept.
pub(crate) fn listen() -> Listening {
    *known() = Known::new();
    HEARD.set(true);
    Listening(())
}

impl Drop for Listening {
    fn drop(&mut self) {
        HEARD.set(false);
    }
}

/// Says what comes after the outermost stint under way, by kinds of stints, and how many of each.
pub(crate) fn comes_after(after: &[(&'static str, f64)]) {
    if HEARD.get() {
        known().after = Some(after.to_vec());
    }
}

/// Says how much of the amount of stints of a `kind` the kernel by itself would take a second.
pub(crate) fn kernel_takes(kind: &'static str, a_second: f64) {
    if HEARD.get() {
        known().kernel.insert(kind, a_second);
    }
}

/// Bits of the milliseconds that a rank says it has worked: three days.
pub(crate) const WORKED_BITS: u32 = 28;

/// Says what each rank has worked so far, and not waited for others, in milliseconds of so many
/// bits.
pub(crate) fn worked(ranks: impl Iterator<Item = u32>) {
    if !HEARD.get() {
        return;
    }
    let mut known = known();
    let now: Vec<u32> = ranks.collect();
    match &mut known.worked {
        Some([first, last]) if first.len() == now.len() => *last = now,
        worked => *worked = Some([now.clone(), now]),
    }
}

/// Says that this thread has waited for others or for input.
pub(crate) fn waited(seconds: f64) {
    if HEARD.get() {
        WAITED.fetch_add((seconds * 1e9) as u64, Relaxed);
    }
}

/// What somebody who looks at a stint sees.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    pub(crate) name: String,
    pub(crate) length: Length,
    pub(crate) done: u64,
    /// Since it began.
    pub(crate) elapsed: Duration,
    /// From its beginning until so much was done.
    pub(crate) taken: Duration,
    /// Less what the stints within it took of that.
    pub(crate) alone: Duration,
    /// Seconds that were waited meanwhile.
    pub(crate) waited: f64,
    /// How much of its amount the kernel by itself would take a second, where somebody has said so.
    pub(crate) kernel: Option<f64>,
}

/// All that is under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    /// Each within the one before it.
    pub(crate) looks: Vec<Look>,
    /// Seconds that what comes after the outermost takes, as far as this process has come by all of
    /// it; `None` where it hasn't, or there is nothing of that.
    pub(crate) after: Option<f64>,
    /// The rank that has worked longest within the outermost, and how much longer than the mean of
    /// all, as a share of that; `None` where ranks haven't said so for long enough.
    pub(crate) slowest: Option<(usize, f64)>,
}

/// Shows `look` what is under way. No stint begins or ends meanwhile.
pub(crate) fn look<R>(look: impl FnOnce(&View) -> R) -> R {
    let known = known();
    let looks = known.under_way.iter().map(|entry| {
        let [taken, alone] = [0, 1].map(|at| Duration::from_nanos(entry.taken[at].load(Relaxed)));
        Look {
            name: entry.name.clone(),
            length: entry.length,
            done: entry.done.load(Relaxed),
            elapsed: entry.began.elapsed(),
            taken,
            alone,
            waited: WAITED.load(Relaxed).saturating_sub(entry.waited) as f64 / 1e9,
            kernel: known.kernel.get(entry.kind).copied(),
        }
    });
    let looks = looks.collect();
    look(&View { looks, after: known.seconds_after(), slowest: known.slowest() })
}

impl Known {
    fn slowest(&self) -> Option<(usize, f64)> {
        let [first, last] = self.worked.as_ref()?;
        // The count begins anew once its bits are full.
        let since = |(first, last): (&u32, &u32)| last.wrapping_sub(*first) % (1 << WORKED_BITS);
        let worked: Vec<u32> = first.iter().zip(last).map(since).collect();
        let mean = worked.iter().map(|one| f64::from(*one)).sum::<f64>() / worked.len() as f64;
        let (rank, most) = worked.iter().enumerate().max_by_key(|(_, worked)| **worked)?;
        (mean >= WORKED_LEAST).then(|| (rank, f64::from(*most) / mean - 1.0))
    }

    fn seconds_after(&self) -> Option<f64> {
        let outermost = self.under_way.first()?;
        let seconds = |(kind, count): &(&'static str, f64)| {
            let (mut seconds, mut share) = self.spent.get(kind).copied().unwrap_or_default();
            if outermost.kind == *kind {
                seconds += outermost.taken[0].load(Relaxed) as f64 / 1e9;
                share += outermost.share(outermost.length.before);
            }
            (share > 0.0).then(|| seconds / share * count)
        };
        let after = self.after.as_ref()?;
        after.iter().filter(|(_, count)| *count > 0.0).map(seconds).sum()
    }
}

/// Milliseconds that ranks have worked before anybody says that one works longer than others.
const WORKED_LEAST: f64 = 1000.0;

/// Nobody does anything slow while holding it but write a line to a terminal that takes it.
fn known() -> MutexGuard<'static, Known> {
    KNOWN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    // One test: what is kept is the process's.
    #[test]
    fn stints_lie_within_each_other_and_only_the_thread_that_is_heard_has_any() {
        let count = || look(|view| view.looks.len());
        drop(Stint::begin("unheard", "unheard", Length::of(3, "rows")));
        let listening = listen();
        let length = Length { before: 10, parts: (2, "epoch"), ..Length::of(40, "rows") };
        let outer = Stint::begin("step", "a step", length);
        comes_after(&[("step", 2.0), ("other", 1.0)]);
        kernel_takes("step", 7.0);
        std::thread::sleep(Duration::from_millis(20));
        outer.reach(20);
        let inner = Stint::begin("other", "another", Length::of(8, "blocks"));
        inner.add(3);
        inner.add(1);
        waited(0.5);
        std::thread::spawn(|| waited(9.0)).join().unwrap();
        std::thread::sleep(Duration::from_millis(20));
        look(|view| {
            let [step, other] = &view.looks[..] else { panic!("{view:?}") };
            assert_eq!((&*step.name, step.done, step.length), ("a step", 20, length));
            assert_eq!((&*other.name, other.done), ("another", 4));
            assert_eq!((step.kernel, other.kernel), (Some(7.0), None));
            assert!(step.taken == step.alone && step.taken <= step.elapsed, "{step:?}");
            assert!((0.5..9.0).contains(&step.waited) && (0.5..9.0).contains(&other.waited));
            assert_eq!(view.after, None, "nobody has come by one of the other kind");
        });
        drop(inner);
        outer.reach(30);
        look(|view| {
            let step = &view.looks[0];
            assert!(step.alone + Duration::from_millis(20) <= step.taken, "{step:?}");
            // Half of the step has taken this; half of the other is part of it.
            let (least, taken) = (2.0 * 2.0 * 0.04 + 2.0 * 0.02, step.taken.as_secs_f64());
            let after = view.after.unwrap();
            assert!((least..(2.0 * 2.0 + 2.0) * taken).contains(&after), "{after}: {step:?}");
        });
        let slowest = || look(|view| view.slowest);
        // The first rank's count begins anew.
        worked([(1 << WORKED_BITS) - 5, 7].into_iter());
        worked([895, 1007].into_iter());
        assert_eq!(slowest(), None, "900 and 1000 ms are too little");
        worked([995, 3007].into_iter());
        assert_eq!(slowest(), Some((1, 0.5)), "3000 ms where the mean is 2000");
        drop(outer);
        drop(Stint::begin("empty", "empty", Length::of(0, "rows")));
        assert_eq!(count(), 0);
        drop(listening);
        let _stint = Stint::begin("unheard", "unheard", Length::of(3, "rows"));
        assert_eq!(count(), 0);
    }
}
