//! A launcher whose launches and copies take given times and no processor, and make nothing: what
//! goes on beside what can be measured on a busy machine.

use std::ops::Range;
use std::thread::sleep;
use std::time::{Duration, Instant};

use reelscale::internals::device::gpu::launcher::{Lane, Launcher, Mark, Stage};
use reelscale::internals::kernel::text::calls::{Buffer, Launch};

type Told<T> = Result<T, String>;

pub struct Resting {
    /// What a launch takes, and what a byte takes that is copied.
    launch: Duration,
    byte: Duration,
    /// When each lane is through.
    through: [Instant; 3],
    buffers: usize,
    stages: Vec<Vec<u8>>,
    marks: Vec<Instant>,
}

impl Resting {
    pub fn new(launch: Duration, byte: Duration) -> Resting {
        let through = [Instant::now(); 3];
        Resting { launch, byte, through, buffers: 0, stages: Vec::new(), marks: Vec::new() }
    }

    fn takes(&mut self, lane: Lane, time: Duration) {
        let through = &mut self.through[lane as usize];
        *through = Instant::now().max(*through) + time;
    }

    fn copy(&mut self, lane: Lane, bytes: Range<usize>) -> Told<()> {
        self.takes(lane, self.byte * bytes.len() as u32);
        Ok(())
    }
}

impl Launcher for Resting {
    fn describe(&self) -> String {
        "the tests' device that rests".into()
    }
    fn free_bytes(&mut self) -> Told<usize> {
        Ok(usize::MAX)
    }
    fn largest(&mut self) -> Told<usize> {
        Ok(usize::MAX)
    }
    fn make(&mut self, _: usize) -> Told<Buffer> {
        self.buffers += 1;
        Ok(Buffer(self.buffers - 1))
    }
    fn free(&mut self, _: Buffer) {}
    fn fill(&mut self, _: Buffer, _: usize, _: usize, _: u8) -> Told<()> {
        Ok(())
    }
    fn launch(&mut self, _: &Launch) -> Told<()> {
        self.takes(Lane::Work, self.launch);
        Ok(())
    }
    fn stage(&mut self, bytes: usize) -> Told<Stage> {
        self.stages.push(vec![0; bytes]);
        Ok(Stage(self.stages.len() - 1))
    }
    fn unstage(&mut self, _: Stage) {}
    fn staged(&mut self, stage: Stage, bytes: Range<usize>) -> &mut [u8] {
        &mut self.stages[stage.0][bytes]
    }
    fn send(&mut self, lane: Lane, from: (Stage, Range<usize>), _: (Buffer, usize)) -> Told<()> {
        self.copy(lane, from.1)
    }
    fn fetch(&mut self, lane: Lane, _: (Buffer, usize), to: (Stage, Range<usize>)) -> Told<()> {
        self.copy(lane, to.1)
    }
    fn mark(&mut self, lane: Lane) -> Told<Mark> {
        self.marks.push(self.through[lane as usize]);
        Ok(Mark(self.marks.len() - 1))
    }
    fn follow(&mut self, lane: Lane, mark: Mark) -> Told<()> {
        let through = &mut self.through[lane as usize];
        *through = self.marks[mark.0].max(*through);
        Ok(())
    }
    fn passed(&mut self, mark: Mark) -> Told<bool> {
        Ok(self.marks[mark.0] <= Instant::now())
    }
    fn wait(&mut self, mark: Mark) -> Told<()> {
        sleep(self.marks[mark.0].saturating_duration_since(Instant::now()));
        Ok(())
    }
    fn forget(&mut self, _: Mark) {}
}
