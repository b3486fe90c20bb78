//! A launcher that does nothing before it must, or copies as early as it may, and reads and writes
//! staging memory only then: where a wait is missing the bits are others.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;

use reelscale::internals::device::gpu::launcher::{Lane, Launcher, Mark, Stage};
use reelscale::internals::device::gpu::opencl::{Kinds, OpenCl, devices};
use reelscale::internals::kernel::text::calls::{Buffer, Launch};
use reelscale::internals::kernel::text::{OPENCL_OPTIONS, whole};

type Told<T> = Result<T, String>;

/// Bytes that kernels may read beyond a buffer.
const SLACK: usize = 16;

/// When a lane of copies does what comes to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum When {
    /// As soon as it may: whatever it follows is done first.
    AtOnce,
    /// Once somebody who waits for it must have it.
    AtLast,
}

/// What is left out, as a control.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    Nothing,
    /// The first lane doesn't follow the second.
    Unfollowed(Lane, Lane),
    /// A mark is said to have been passed when it hasn't.
    Early,
    /// So many copies are done, and the next one fails when somebody asks for it.
    Fails(usize),
}

enum Task {
    Launch(Launch),
    Fill(Buffer, usize, usize, u8),
    Free(Buffer),
    Send((Stage, Range<usize>), (Buffer, usize)),
    Fetch((Buffer, usize), (Stage, Range<usize>)),
    /// Another lane comes to so many tasks first.
    Follow(Lane, u64),
}

/// How often a lane had to follow another: `[follower][followed]`.
pub type Follows = Rc<RefCell<[[usize; 3]; 3]>>;

pub struct Deferred {
    inner: OpenCl,
    /// Copies up, and down.
    when: [When; 2],
    fault: Fault,
    tasks: [VecDeque<Task>; 3],
    asked: [u64; 3],
    done: [u64; 3],
    copies: usize,
    /// Where each mark is, and how often it was asked for.
    marks: Vec<(Lane, u64, usize)>,
    pub follows: Follows,
}

impl Deferred {
    pub fn new(when: [When; 2], fault: Fault) -> Deferred {
        let device = devices(Kinds::Any).unwrap()[0];
        Deferred {
            inner: OpenCl::of(device, &whole(), OPENCL_OPTIONS).unwrap(),
            when,
            fault,
            tasks: Default::default(),
            asked: [0; 3],
            done: [0; 3],
            copies: 0,
            marks: Vec::new(),
            follows: Rc::default(),
        }
    }

    fn come(&mut self, lane: Lane, task: Task) -> Told<()> {
        self.tasks[lane as usize].push_back(task);
        self.asked[lane as usize] += 1;
        let when = match lane {
            Lane::Work => When::AtLast,
            Lane::Up => self.when[0],
            Lane::Down => self.when[1],
        };
        match when {
            When::AtOnce => self.run(lane, self.asked[lane as usize]),
            When::AtLast => Ok(()),
        }
    }

    /// Does what has come to a lane until so many tasks of it are done.
    fn run(&mut self, lane: Lane, until: u64) -> Told<()> {
        while self.done[lane as usize] < until {
            let task = self.tasks[lane as usize].pop_front().expect("what was asked for");
            self.done[lane as usize] += 1;
            match task {
                Task::Follow(other, place) => self.run(other, place)?,
                Task::Launch(launch) => self.inner.launch(&launch)?,
                Task::Fill(buffer, at, bytes, with) => self.inner.fill(buffer, at, bytes, with)?,
                Task::Free(buffer) => self.inner.free(buffer),
                Task::Send(from, to) => {
                    self.copied()?;
                    self.inner.send(Lane::Work, from, to)?;
                    self.finish()?;
                }
                Task::Fetch(from, to) => {
                    self.copied()?;
                    self.inner.fetch(Lane::Work, from, to)?;
                    self.finish()?;
                }
            }
        }
        Ok(())
    }

    fn copied(&mut self) -> Told<()> {
        self.copies += 1;
        match self.fault {
            Fault::Fails(copies) if self.copies > copies => Err("a copy of the tests fails".into()),
            _ => Ok(()),
        }
    }

    /// Waits for what was done.
    fn finish(&mut self) -> Told<()> {
        let mark = self.inner.mark(Lane::Work)?;
        self.inner.wait(mark)?;
        self.inner.forget(mark);
        Ok(())
    }
}

impl Launcher for Deferred {
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
        let buffer = self.inner.make(bytes)?;
        self.come(Lane::Work, Task::Fill(buffer, 0, bytes + SLACK, 0xff))?;
        Ok(buffer)
    }
    fn free(&mut self, buffer: Buffer) {
        self.come(Lane::Work, Task::Free(buffer)).unwrap();
    }
    fn fill(&mut self, buffer: Buffer, at: usize, bytes: usize, with: u8) -> Told<()> {
        self.come(Lane::Work, Task::Fill(buffer, at, bytes, with))
    }
    fn launch(&mut self, launch: &Launch) -> Told<()> {
        self.come(Lane::Work, Task::Launch(launch.clone()))
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
        self.come(lane, Task::Send(from, to))
    }
    fn fetch(&mut self, lane: Lane, from: (Buffer, usize), to: (Stage, Range<usize>)) -> Told<()> {
        self.come(lane, Task::Fetch(from, to))
    }
    fn mark(&mut self, lane: Lane) -> Told<Mark> {
        self.marks.push((lane, self.asked[lane as usize], 0));
        Ok(Mark(self.marks.len() - 1))
    }
    fn follow(&mut self, lane: Lane, mark: Mark) -> Told<()> {
        let (other, place, _) = self.marks[mark.0];
        self.follows.borrow_mut()[lane as usize][other as usize] += 1;
        match self.fault == Fault::Unfollowed(lane, other) {
            true => Ok(()),
            false => self.come(lane, Task::Follow(other, place)),
        }
    }
    fn passed(&mut self, mark: Mark) -> Told<bool> {
        let (lane, place, asked) = &mut self.marks[mark.0];
        *asked += 1;
        match (self.fault, *asked) {
            (Fault::Early, _) => Ok(true),
            (_, 1) if self.done[*lane as usize] < *place => Ok(false),
            _ => {
                let (lane, place) = (*lane, *place);
                self.wait_for(lane, place).map(|()| true)
            }
        }
    }
    fn wait(&mut self, mark: Mark) -> Told<()> {
        let (lane, place, _) = self.marks[mark.0];
        match self.fault {
            Fault::Early => Ok(()),
            _ => self.wait_for(lane, place),
        }
    }
    fn forget(&mut self, _: Mark) {}
}

impl Deferred {
    fn wait_for(&mut self, lane: Lane, place: u64) -> Told<()> {
        self.run(lane, place)?;
        self.finish()
    }
}
