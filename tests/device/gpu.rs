//! The device with the device text's kernels, on PoCL where no GPU is there: the pinned jobs come
//! to their literals, runs stop on it and go on on the host and the other way round, and where it
//! is lost all ranks end. Without any OpenCL device these tests say that they skip.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::ops::Range;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use reelscale::internals::device::gpu::Gpu;
use reelscale::internals::device::gpu::launcher::{Lane, Launcher, Mark, Stage};
use reelscale::internals::device::gpu::opencl::{Kinds, OpenCl, devices};
use reelscale::internals::device::gpu::queue::Queue;
use reelscale::internals::kernel::text::calls::{Buffer, Launch};
use reelscale::internals::kernel::text::{OPENCL_OPTIONS, whole};
use reelscale::internals::report::Report;
use reelscale::internals::train::{Data, Run, Setting, host_of};
use reelscale::{Comm, Exit, Host, Job, Result, run_threads};

use super::common::pinned_jobs::{FRAMES, VIDEOS, job, shards, sliced};
use super::common::pins::{Literals, Pin};
use super::common::stopped::train;
use super::declared::{declared, given};

/// Bytes that a device of these jobs holds at most: more would be a leak.
const BYTES_MAX: usize = 16 << 20;

/// A launcher that can be lost at a launch, or tells a run to stop at one. Each launch has the
/// arguments that the PTX declares.
pub struct Watched {
    inner: Box<dyn Launcher>,
    pub launches: Rc<Cell<usize>>,
    /// Kernels that were launched.
    pub kernels: Arc<Mutex<BTreeSet<&'static str>>>,
    lost_at: usize,
    stops: Option<(usize, Arc<AtomicBool>)>,
}

impl Watched {
    pub fn of(text: &str, options: &str) -> std::result::Result<Watched, String> {
        let device = *devices(Kinds::Any)?.first().ok_or("no OpenCL device")?;
        Ok(Watched::around(Box::new(OpenCl::of(device, text, options)?)))
    }

    pub fn around(inner: Box<dyn Launcher>) -> Watched {
        let (launches, kernels) = (Rc::default(), Arc::default());
        Watched { inner, launches, kernels, lost_at: usize::MAX, stops: None }
    }

    pub fn new() -> Watched {
        Watched::of(&whole(), OPENCL_OPTIONS).unwrap()
    }

    pub fn device(self, job: &Job) -> Gpu {
        self.of_bytes(job, BYTES_MAX)
    }

    fn of_bytes(self, job: &Job, most: usize) -> Gpu {
        let (epsilon, queue) = (job.model.epsilon, Queue::new(Box::new(self), most));
        Gpu::new(Host::detected(1, epsilon), queue, epsilon)
    }
}

type Told<T> = std::result::Result<T, String>;

/// Memory that nobody has written holds no number, neither in 32 nor in 64 bits.
pub fn make_unwritten(launcher: &mut dyn Launcher, bytes: usize) -> Told<Buffer> {
    const SLACK: usize = 16;
    let buffer = launcher.make(bytes)?;
    launcher.fill(buffer, 0, bytes + SLACK, 0xff)?;
    Ok(buffer)
}

impl Launcher for Watched {
    fn describe(&self) -> String {
        self.inner.describe()
    }
    fn free_bytes(&mut self) -> Told<usize> {
        self.inner.free_bytes()
    }
    fn largest(&mut self) -> Told<usize> {
        self.inner.largest()
    }
    fn make(&mut self, bytes: usize) -> Told<Buffer> {
        make_unwritten(&mut *self.inner, bytes)
    }
    fn free(&mut self, buffer: Buffer) {
        self.inner.free(buffer);
    }
    fn fill(&mut self, buffer: Buffer, at: usize, bytes: usize, with: u8) -> Told<()> {
        self.inner.fill(buffer, at, bytes, with)
    }
    fn launch(&mut self, launch: &Launch) -> Told<()> {
        let launches = self.launches.get() + 1;
        self.launches.set(launches);
        self.kernels.lock().unwrap().insert(launch.kernel);
        assert_eq!(given(launch), declared(launch.kernel), "arguments of {}", launch.kernel);
        if let Some((_, flag)) = self.stops.as_ref().filter(|stops| stops.0 == launches) {
            flag.store(true, Relaxed);
        }
        match launches > self.lost_at {
            true => Err("the tests' device is lost".into()),
            false => self.inner.launch(launch),
        }
    }
    fn stage(&mut self, bytes: usize) -> Told<Stage> {
        self.inner.stage(bytes)
    }
    fn unstage(&mut self, stage: Stage) {
        self.inner.unstage(stage);
    }
    fn staged(&mut self, stage: Stage, bytes: Range<usize>) -> &mut [u8] {
        self.inner.staged(stage, bytes)
    }
    fn send(&mut self, lane: Lane, from: (Stage, Range<usize>), to: (Buffer, usize)) -> Told<()> {
        self.inner.send(lane, from, to)
    }
    fn fetch(&mut self, lane: Lane, from: (Buffer, usize), to: (Stage, Range<usize>)) -> Told<()> {
        self.inner.fetch(lane, from, to)
    }
    fn mark(&mut self, lane: Lane) -> Told<Mark> {
        self.inner.mark(lane)
    }
    fn follow(&mut self, lane: Lane, mark: Mark) -> Told<()> {
        self.inner.follow(lane, mark)
    }
    fn passed(&mut self, mark: Mark) -> Told<bool> {
        self.inner.passed(mark)
    }
    fn wait(&mut self, mark: Mark) -> Told<()> {
        self.inner.wait(mark)
    }
    fn forget(&mut self, mark: Mark) {
        self.inner.forget(mark);
    }
}

/// A device for a rank of a test, if there is any.
pub fn device(epsilon: f32) -> Gpu {
    let queue = Queue::new(Box::new(Watched::new()), BYTES_MAX);
    Gpu::new(Host::detected(1, epsilon), queue, epsilon)
}

/// A device for a rank of this job that takes at most so many bytes.
pub fn device_of(job: &Job, limit: usize) -> Gpu {
    let (epsilon, queue) = (job.model.epsilon, Queue::new(Box::new(Watched::new()), limit));
    Gpu::new(Host::detected(1, epsilon), queue, epsilon)
}

/// A device that is lost at a launch, and how many there have been.
pub fn device_that_is_lost(job: &Job, launch: usize) -> (Gpu, Rc<Cell<usize>>) {
    let mut launcher = Watched::new();
    launcher.lost_at = launch;
    let launches = launcher.launches.clone();
    (launcher.device(job), launches)
}

/// A device that tells its rank to stop at a launch.
pub fn device_that_stops(mut launcher: Watched, job: &Job, (comm, launch): (&Comm, usize)) -> Gpu {
    launcher.stops = Some((launch, comm.stop_flag().clone()));
    launcher.device(job)
}

/// Whether there is no device; a test says then that it skips.
pub fn missing() -> bool {
    let missing = devices(Kinds::Any).map_or(true, |devices| devices.is_empty());
    if missing {
        println!("skipped: no OpenCL device here (PoCL's package is pocl-opencl-icd)");
    }
    missing
}

/// Every kernel of the text, as plain C++ lists them.
fn kernels() -> BTreeSet<&'static str> {
    let text = include_str!("../../src/kernel/text/plain.cpp");
    let lists = text.lines().filter(|line| line.trim_start().starts_with("IS("));
    let names = lists.flat_map(|line| line.split("IS(").skip(1));
    names.map(|name| name.split(')').next().unwrap()).collect()
}

/// What jobs run on.
pub struct Ground<'a> {
    pub name: &'a str,
    /// A launcher for a rank of so many.
    pub launcher: &'a (dyn Fn(usize) -> Watched + Sync),
    /// A job runs on one, two and three ranks, or, where another ground does that, on one of these
    /// numbers in turn.
    pub in_turn: bool,
}

/// Ranks, and rows that their devices hold of a run: one that holds all, and some that end within
/// row blocks of 20 rows; of those of 30 some begin at no multiple of four.
const RUNS: [(usize, usize); 3] = [(1, 8192), (2, 48), (3, 30)];

/// Every job. Gives the kernels that none of them launched.
fn check(
    ground: &Ground,
    literals: &str,
    jobs: &[(&str, &str)],
    frames: usize,
) -> Vec<&'static str> {
    let mut unused = kernels();
    assert!(unused.len() > 30, "{unused:?}");
    let (folder, launched) = (tempfile::tempdir().unwrap(), Arc::default());
    shards(folder.path(), frames);
    let mut literals = Literals::read(literals);
    let watched = |ranks: usize| (ground.launcher)(ranks);
    for (turn, (name, own)) in jobs.iter().enumerate() {
        let job = job(folder.path(), name, own);
        let runs = match ground.in_turn {
            true => &RUNS[turn % 3..][..1],
            false => &RUNS,
        };
        for &(ranks, run) in runs {
            let device = |_: &_| {
                let kernels = Arc::clone(&launched);
                Ok(Watched { kernels, ..watched(ranks) }.device(&job).in_runs_of(run))
            };
            let pin = Pin::of_run_on(&job, &vec![1; ranks], device);
            literals.check(name, &format!("{}, {ranks} ranks", ground.name), pin);
        }
        if frames > 0 && !ground.in_turn {
            let device = |_: &_| Ok(watched(1).device(&job).frames_on_host());
            let what = format!("{}, frames on the host", ground.name);
            literals.check(name, &what, Pin::of_run_on(&job, &[1], device));
        }
    }
    literals.finish();
    let launched: MutexGuard<BTreeSet<&'static str>> = launched.lock().unwrap();
    unused.retain(|name| !launched.contains(name));
    unused.into_iter().collect()
}

/// All jobs come to their literals and launch every kernel.
pub fn check_all(ground: &Ground) {
    let (mut unused, by_frames) = thread::scope(|scope| {
        let frames = scope.spawn(|| check(ground, "frames.txt", FRAMES, 6));
        (check(ground, "videos.txt", VIDEOS, 0), frames.join().unwrap())
    });
    let jobs: Vec<(String, String, usize)> = sliced().collect();
    let jobs: Vec<(&str, &str)> = jobs.iter().map(|job| (&*job.0, &*job.1)).collect();
    check(ground, "slices.txt", &jobs, 0);
    unused.retain(|kernel| by_frames.contains(kernel));
    // These are for annotating, for the check of a device, for sizes that no job has, and for the
    // way back of a pooling that has no frame network here; gpu-check has them all.
    assert_eq!(unused, ["best", "functions", "product_turned", "unpool_l2"]);
}

#[test]
fn jobs_come_to_their_literals_on_opencl_and_launch_every_kernel() {
    if !missing() {
        let launcher = &|_| Watched::new();
        check_all(&Ground { name: "OpenCL", launcher, in_turn: false });
    }
}

/// How ranks end of which one has a device that is lost at a launch, and has so many bytes; and
/// each one's launches.
fn outcomes(job: &Job, lost_at: usize, bytes: usize) -> Vec<(Result<()>, usize)> {
    let outcomes = run_threads(2, |comm| {
        let (mut launcher, mut own) = (Watched::new(), BYTES_MAX);
        if comm.rank() == 1 {
            (launcher.lost_at, own) = (lost_at, bytes);
        }
        let launches = launcher.launches.clone();
        let device = launcher.of_bytes(job, own);
        let (queue, data) = (device.queue().clone(), Data::open(comm, job)?);
        let mut report = Report::new(None);
        let setting = Setting::new(comm, job, data)?;
        let run = Run::begin(setting, device, &mut report, None);
        let outcome = run.and_then(|run| run.finish().map(drop));
        assert_eq!(queue.held().0, 0, "all memory was given back");
        Ok((outcome, launches.get()))
    });
    outcomes.unwrap()
}

#[test]
fn where_the_device_is_lost_both_ranks_end() {
    if missing() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    shards(folder.path(), 0);
    let (name, own) = VIDEOS.iter().find(|job| job.0.contains("averaging-adam")).unwrap();
    let job = job(folder.path(), name, own);
    let whole = outcomes(&job, usize::MAX, BYTES_MAX);
    assert!(whole.iter().all(|rank| rank.0.is_ok()), "{name}");
    let launches = whole[1].1;
    assert!(launches > 100, "{launches} launches");
    for lost_at in (0..launches).step_by(launches / 12 + 1) {
        for (outcome, _) in outcomes(&job, lost_at, BYTES_MAX) {
            let error = outcome.unwrap_err();
            assert_eq!(error.exit, Exit::Resources, "{name}, launch {lost_at}: {error}");
            assert!(error.text.contains("is lost"), "{name}, launch {lost_at}: {error}");
        }
    }
}

/// Wherever it is full, of videos and of frames, both ranks end and all memory is given back.
#[test]
fn where_the_device_is_full_both_ranks_end() {
    if missing() {
        return;
    }
    for (jobs, frames) in [(VIDEOS, 0), (FRAMES, 6)] {
        let folder = tempfile::tempdir().unwrap();
        shards(folder.path(), frames);
        let (name, own) = jobs.first().unwrap();
        let job = job(folder.path(), name, own);
        let (mut bytes, mut full) = (1 << 12, 0);
        while let Err(error) = &outcomes(&job, usize::MAX, bytes)[1].0 {
            assert_eq!(error.exit, Exit::Resources, "{name}, {bytes} bytes: {error}");
            assert!(error.text.contains("exceed"), "{name}, {bytes} bytes: {error}");
            (bytes, full) = (bytes * 3 / 2, full + 1);
        }
        assert!(full > 4 && bytes < BYTES_MAX, "{name}: full {full} times, {bytes} bytes");
    }
}

/// Stopped at a launch it goes on on the host, and then on the device, on other ranks, to the same.
#[test]
fn a_run_stops_on_opencl_and_goes_on_on_the_host_and_on_opencl() {
    if missing() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    shards(data.path(), 0);
    for wanted in ["class-patience-averaging-adam-no-dummy", "features-class-patience-lbfgs-exact"]
    {
        let (name, own) = VIDEOS.iter().find(|job| job.0 == wanted).unwrap();
        let job = job(data.path(), name, own);
        let expected = Pin::of_run(&job, 1).weights;
        let stopping = |at: usize| {
            let job = &job;
            move |comm: &Comm| {
                let mut launcher = Watched::new();
                if comm.rank() == 1 {
                    launcher.stops = Some((at, comm.stop_flag().clone()));
                }
                Ok(launcher.device(job))
            }
        };
        let (mut launch, mut stopped) = (1, 0);
        loop {
            let folder = tempfile::tempdir().unwrap();
            if train(&job, 2, folder.path(), stopping(launch)).0 {
                break;
            }
            // Some go on on the device, and stop once more, before the host ends them.
            if stopped % 2 == 1 {
                train(&job, 3, folder.path(), stopping(launch / 2 + 1));
            }
            let ended = train(&job, 3, folder.path(), |_| host_of(&job));
            assert_eq!(ended, (true, expected.clone()), "{name}, stopped at launch {launch}");
            (launch, stopped) = (launch + 7 + launch / 2, stopped + 1);
        }
        assert!(stopped > 4, "{name}: {stopped} stops");
    }
}

/// What a fault of the text or of its build comes to is seen.
#[test]
fn other_bits_are_seen() {
    if missing() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    shards(folder.path(), 0);
    let (name, own) = VIDEOS[0];
    let job = job(folder.path(), name, own);
    let expected = Pin::of_run(&job, 1).weights;
    let flipped = whole().replace("positive ? -slope : slope", "positive ? slope : -slope");
    assert_ne!(flipped, whole());
    let fast = format!("{OPENCL_OPTIONS} -cl-fast-relaxed-math");
    for (what, text, options) in
        [("a sign", &flipped[..], OPENCL_OPTIONS), ("fast arithmetic", &whole(), &fast)]
    {
        let device = |_: &_| Ok(Watched::of(text, options).unwrap().device(&job));
        let found = Pin::of_run_on(&job, &[1], device).weights;
        assert_ne!(found, expected, "{what} isn't seen");
    }
    let device = |_: &_| Ok(Watched::new().device(&job));
    assert_eq!(Pin::of_run_on(&job, &[1], device).weights, expected);
}
