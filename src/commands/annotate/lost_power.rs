//! What is left of parts where power is lost or a call fails, as the next start finds it. A test of
//! the writer, the journal and the folder together.

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::io;
    use std::path::{Path, PathBuf};
    use std::sync::{Arc, Mutex};

    use sha2::{Digest, Sha256};

    use crate::commands::annotate::folder::Folder;
    use crate::commands::annotate::journal::Sum;
    use crate::commands::annotate::writer::{Place, Writer};
    use crate::disk::{CallSite, Disk, DiskCall, DiskHook, FaultKind, Go};
    use crate::error::Result;
    use crate::formats::predictions::WrittenAs;
    use crate::human::hex;
    use crate::inference::parts::{Annotated, PartRows};

    const NAMES: [&str; 3] = ["000000-0000000000", "000000-0000000512", "000001-0000000000"];

    /// Two pieces of each of three parts of two classes a video.
    fn pieces() -> impl Iterator<Item = Annotated> {
        (0..6).map(|piece| {
            let ids = (0..3).map(|row| format!("id-{piece}-{row}").into_bytes()).collect();
            let of = PartRows { part: piece / 2, last: piece % 2 == 1, rows: 0..3, ids };
            Annotated { of, best: (0..6).map(|at| (0.5 / (1 + at) as f32, at)).collect() }
        })
    }

    fn place(disk: Disk, folder: &Path, written_as: WrittenAs, start: u32) -> Place {
        let names = NAMES.map(|name| format!("{name}.{}", written_as.ending())).to_vec();
        let folder = folder.to_path_buf();
        let (model, class_names, start) = ("model".to_string(), None, (start, 0));
        Place { disk, folder, written_as, model, top: 2, class_names, names, start }
    }

    /// Writes all parts, or comes to an error.
    fn write(place: Place) -> Result<Vec<(usize, Sum)>> {
        let mut writer = Writer::new(place, 1);
        for piece in pieces() {
            let mut piece = Some(piece);
            while let Some(some) = piece.take() {
                piece = writer.give(some);
                writer.finished()?;
            }
        }
        while !writer.is_idle() {
            writer.wait()?;
        }
        Ok(writer.into_finished())
    }

    /// What may be on a disk that loses power, for the worse: of parts the names that were synced,
    /// or all of them, with zeros in place of bytes that weren't synced; of journals everything.
    #[derive(Debug, Default)]
    struct Durable {
        /// Bytes of each file as they were synced.
        synced: BTreeMap<PathBuf, Vec<u8>>,
        /// Names since the folder was synced last, and then.
        named: Vec<PathBuf>,
        lasting: Vec<PathBuf>,
        /// Whether what is written under temporary names is never synced.
        forgets: bool,
    }

    #[derive(Debug)]
    struct Crashes {
        state: Mutex<Durable>,
        /// Where what is left is put, and claims that are false.
        scratch: PathBuf,
        wrong: Mutex<Vec<String>>,
    }

    impl Crashes {
        /// Loses power now.
        fn lose(&self, folder: &Path) {
            let state = self.state.lock().unwrap();
            for names in [&state.lasting, &state.named] {
                let _ = fs::remove_dir_all(&self.scratch);
                fs::create_dir(&self.scratch).unwrap();
                fs::write(self.scratch.join("annotate.json"), "").unwrap();
                for path in names.iter().chain(&state.named) {
                    let name = path.file_name().unwrap();
                    let now = fs::read(path).unwrap_or_default();
                    let journal = name.to_str().unwrap().starts_with("sums-");
                    if journal || names.contains(path) {
                        let zeros = || vec![0; now.len()];
                        let synced = state.synced.get(path).cloned().unwrap_or_else(zeros);
                        let bytes = if journal { now } else { synced };
                        fs::write(self.scratch.join(name), bytes).unwrap();
                    }
                }
                let names: Vec<String> = NAMES.iter().map(|name| format!("{name}.csv")).collect();
                let scratch = Folder::take(&Disk::default(), &self.scratch, false).unwrap();
                for (name, sum) in names.iter().zip(scratch.left(&names).unwrap().sums) {
                    let found = fs::read(self.scratch.join(name)).unwrap_or_default();
                    if sum.is_some_and(|sum| sum.sha256 != hex(&Sha256::digest(&found))) {
                        self.wrong.lock().unwrap().push(format!("{name} of {folder:?}"));
                    }
                }
            }
        }
    }

    impl DiskHook for Crashes {
        fn around(&self, call: &DiskCall, _: CallSite, go: Go) -> io::Result<()> {
            go()?;
            let mut state = self.state.lock().unwrap();
            match call {
                DiskCall::Create(path) => state.named.push(path.to_path_buf()),
                DiskCall::Sync { path, .. } => {
                    let temporary = path.extension().is_some_and(|ending| ending == "tmp");
                    if !(state.forgets && temporary) {
                        state.synced.insert(path.to_path_buf(), fs::read(path)?);
                    }
                }
                DiskCall::Rename { from, to } => {
                    state.named.retain(|path| path != from);
                    state.named.push(to.to_path_buf());
                    if let Some(bytes) = state.synced.remove(*from) {
                        state.synced.insert(to.to_path_buf(), bytes);
                    }
                }
                DiskCall::SyncDir(_) => state.lasting = state.named.clone(),
                _ => {}
            }
            drop(state);
            self.lose(&self.scratch);
            Ok(())
        }

        fn lasts(&self, _: &Path) {}
    }

    #[test]
    fn wherever_power_is_lost_a_part_that_counts_is_whole() {
        for forgets in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let state = Mutex::new(Durable { forgets, ..Durable::default() });
            let scratch = folder.path().join("left");
            let crashes = Arc::new(Crashes { state, scratch, wrong: Mutex::default() });
            let parts = folder.path().join("parts");
            fs::create_dir(&parts).unwrap();
            let disk = Disk::hooked(crashes.clone());
            write(place(disk, &parts, WrittenAs::Submission, 1)).unwrap();
            // The control: were a part renamed before its bytes last, this would see it.
            let wrong = crashes.wrong.lock().unwrap();
            assert_eq!(wrong.is_empty(), !forgets, "{wrong:?}");
        }
    }

    #[test]
    fn after_a_call_that_fails_the_same_parts_come_in_the_end() {
        for written_as in [WrittenAs::Long, WrittenAs::Hdf5] {
            let whole = tempfile::tempdir().unwrap();
            let expected = write(place(Disk::default(), whole.path(), written_as, 1)).unwrap();
            for calls in 0.. {
                let folder = tempfile::tempdir().unwrap();
                let disk = Disk::failing_after(calls, FaultKind::Once);
                let outcome = write(place(disk.clone(), folder.path(), written_as, 1));
                if !disk.has_failed() {
                    assert!(calls > 10);
                    break;
                }
                assert_eq!(outcome.unwrap_err().exit as u8, 5);
                let names = place(disk, folder.path(), written_as, 1).names;
                fs::write(folder.path().join("annotate.json"), "").unwrap();
                let own = Folder::take(&Disk::default(), folder.path(), false).unwrap();
                let left = own.left(&names).unwrap();
                for (part, sum) in left.sums.iter().enumerate() {
                    assert!(sum.is_none() || sum.as_ref() == Some(&expected[part].1), "{part}");
                }
                assert!(left.start <= 2);
                drop(own);
                let again = place(Disk::default(), folder.path(), written_as, left.start);
                assert_eq!(write(again).unwrap(), expected);
            }
        }
    }
}
