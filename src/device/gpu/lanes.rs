//! Which lane of a device waits for which: found from the buffers that each operation names, so
//! that nobody who asks for one has to say.
//!
//! An operation comes after the last one of every other lane that used one of its buffers, reading
//! or writing. A launch names all that it touches, since a kernel has addresses from its arguments
//! alone.

use std::collections::VecDeque;

use super::launcher::{Lane, Launcher, Mark};
use crate::kernel::text::calls::Buffer;

/// What has come to each lane.
#[derive(Default)]
pub(super) struct Lanes {
    lanes: [Asked; 3],
    /// By buffer, the last operation of each lane that used it; 0: none.
    uses: Vec<[u64; 3]>,
}

/// What has come to a lane. Operations are counted from 1.
#[derive(Default)]
struct Asked {
    count: u64,
    /// Those known to be through.
    through: u64,
    /// Marks that aren't known to have been passed.
    marks: VecDeque<Marked>,
    /// Those of each lane that all further ones here come after.
    follows: [u64; 3],
}

/// A mark after so many operations, which come after those of each lane.
#[derive(Clone, Copy)]
struct Marked {
    place: u64,
    mark: Mark,
    follows: [u64; 3],
}

impl Lanes {
    /// An operation comes to a lane that uses these buffers; gives its place in the lane.
    pub(super) fn begin(
        &mut self,
        launcher: &mut dyn Launcher,
        lane: Lane,
        buffers: impl Iterator<Item = Buffer>,
    ) -> Result<u64, String> {
        let place = self.lanes[lane as usize].count + 1;
        for buffer in buffers {
            for other in Lane::ALL.into_iter().filter(|other| *other != lane) {
                let used = self.uses[buffer.0][other as usize];
                if used > self.lanes[lane as usize].follows[other as usize] {
                    self.follow(launcher, lane, (other, used))?;
                }
            }
            self.uses[buffer.0][lane as usize] = place;
        }
        self.lanes[lane as usize].count = place;
        Ok(place)
    }

    /// A buffer was just made, as work.
    pub(super) fn made(&mut self, buffer: Buffer) {
        let work = &mut self.lanes[Lane::Work as usize];
        work.count += 1;
        if self.uses.len() <= buffer.0 {
            self.uses.resize(buffer.0 + 1, [0; 3]);
        }
        self.uses[buffer.0] = [0; 3];
        self.uses[buffer.0][Lane::Work as usize] = work.count;
    }

    /// Has a lane follow a place of another one: by the first mark there that is late enough.
    fn follow(
        &mut self,
        launcher: &mut dyn Launcher,
        lane: Lane,
        (other, used): (Lane, u64),
    ) -> Result<(), String> {
        let ahead = &self.lanes[other as usize];
        if used <= ahead.through {
            return Ok(());
        }
        let first = ahead.marks.partition_point(|mark| mark.place < used);
        if first == ahead.marks.len() {
            self.mark(launcher, other)?;
        }
        let Marked { place, mark, follows } = self.lanes[other as usize].marks[first];
        launcher.follow(lane, mark)?;
        let own = &mut self.lanes[lane as usize].follows;
        own[other as usize] = place;
        // Whatever that came after this comes after, too.
        own.iter_mut().zip(follows).for_each(|(own, other)| *own = other.max(*own));
        Ok(())
    }

    /// Marks the place after all that has come to a lane, which it gives.
    pub(super) fn mark(&mut self, launcher: &mut dyn Launcher, lane: Lane) -> Result<u64, String> {
        let own = &mut self.lanes[lane as usize];
        let marked = own.marks.back().map_or(own.through, |mark| mark.place);
        if marked < own.count {
            let mark = launcher.mark(lane)?;
            own.marks.push_back(Marked { place: own.count, mark, follows: own.follows });
        }
        Ok(own.count)
    }

    /// Whether what came to a lane up to a place, after which there is a mark, is through.
    pub(super) fn passed(
        &mut self,
        launcher: &mut dyn Launcher,
        (lane, place): (Lane, u64),
    ) -> Result<bool, String> {
        let own = &mut self.lanes[lane as usize];
        while own.through < place {
            let first = *own.marks.front().expect("a mark after that place");
            if !launcher.passed(first.mark)? {
                return Ok(false);
            }
            own.leave_behind(launcher, first.place);
        }
        Ok(true)
    }

    /// Waits until it is.
    pub(super) fn wait(
        &mut self,
        launcher: &mut dyn Launcher,
        (lane, place): (Lane, u64),
    ) -> Result<(), String> {
        let own = &mut self.lanes[lane as usize];
        if own.through >= place {
            return Ok(());
        }
        let first = own.marks.partition_point(|mark| mark.place < place);
        let Marked { place, mark, .. } = own.marks[first];
        launcher.wait(mark)?;
        own.leave_behind(launcher, place);
        Ok(())
    }

    /// Waits for all that has come to any lane.
    pub(super) fn finish(&mut self, launcher: &mut dyn Launcher) -> Result<(), String> {
        for lane in Lane::ALL {
            let place = self.mark(launcher, lane)?;
            self.wait(launcher, (lane, place))?;
        }
        Ok(())
    }
}

impl Asked {
    /// All up to a place is known to be through.
    fn leave_behind(&mut self, launcher: &mut dyn Launcher, through: u64) {
        self.through = through;
        while let Some(first) = self.marks.front().filter(|mark| mark.place <= through) {
            launcher.forget(first.mark);
            self.marks.pop_front();
        }
    }
}
