//! Faults that are planted in the program's dealings with its world, to see that they are found.

/// What is wrong.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Plant {
    #[default]
    Nothing,
    /// The call of the disk at this place (file, line, column) that makes something last does
    /// nothing.
    Sync(String),
    /// A rank that is told to stop leaves at a boundary by itself.
    LeavesAlone,
    /// A rank whose outcome is an error doesn't wait for what others say.
    AgreesAlone,
    /// Each rank decides by itself whether a checkpoint is due.
    OwnDue,
    /// The last rank leaves barriers out.
    NoBarrier,
    /// Nobody is told that the run is to stop.
    NoNews,
    /// Everybody is told twice.
    NewsTwice,
    /// What was told isn't taken in at the end.
    NewsLeft,
    /// A flag to stop isn't seen at boundaries.
    StopUnseen,
}
