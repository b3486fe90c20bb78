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
    /// Marks, each after so many operations, that aren't known to have been passed.
    marks: VecDeque<(u64, Mark)>,
    /// Those of each lane that all further ones here come after.
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
        let first = ahead.marks.partition_point(|mark| mark.0 < used);
        if first == ahead.marks.len() {
            self.mark(launcher, other)?;
        }
        let (place, mark) = self.lanes[other as usize].marks[first];
        launcher.follow(lane, mark)?;
        self.lanes[lane as usize].follows[other as usize] = place;
        Ok(())
    }

    /// Marks the place after all that has come to a lane, which it gives.
    pub(super) fn mark(&mut self, launcher: &mut dyn Launcher, lane: Lane) -> Result<u64, String> {
        let own = &mut self.lanes[lane as usize];
        let marked = own.marks.back().map_or(own.through, |mark| mark.0);
        if marked < own.count {
            let mark = launcher.mark(lane)?;
            own.marks.push_back((own.count, mark));
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
        while let Some((through, mark)) = own.marks.front().copied().filter(|_| own.through < place)
        {
            if !launcher.passed(mark)? {
                return Ok(false);
            }
            own.leave_behind(launcher, through);
        }
        Ok(own.through >= place)
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
        let first = own.marks.partition_point(|mark| mark.0 < place);
        let (through, mark) = own.marks[first];
        launcher.wait(mark)?;
        own.leave_behind(launcher, through);
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
        while let Some((_, mark)) = self.marks.front().copied().filter(|mark| mark.0 <= through) {
            launcher.forget(mark);
            self.marks.pop_front();
        }
    }
}
