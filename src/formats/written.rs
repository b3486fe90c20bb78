//! A file of annotations under way: begun, then a video after the other, then its end.

use std::io::{self, Write};

use super::predictions::WrittenAs;
use super::table::ParquetVideos;
use crate::names::Names;

/// What is said of annotations beside the videos.
#[derive(Clone, Copy)]
pub(crate) struct About<'a> {
    /// Content hash of the model.
    pub(crate) model: &'a str,
    /// Classes of a video.
    pub(crate) top: usize,
    pub(crate) names: Option<&'a Names>,
}

/// A file of any format but HDF5 and segments, which come as a whole.
pub(crate) struct Written<'a> {
    written_as: WrittenAs,
    names: Option<&'a Names>,
    parquet: Option<ParquetVideos>,
}

impl<'a> Written<'a> {
    pub(crate) fn begin(
        written_as: WrittenAs,
        out: &mut dyn Write,
        about: About<'a>,
    ) -> io::Result<Written<'a>> {
        written_as.write_head(out, about.names.is_some())?;
        let parquet = match written_as {
            WrittenAs::Parquet => Some(ParquetVideos::new(&about)?),
            _ => None,
        };
        Ok(Written { written_as, names: about.names, parquet })
    }

    pub(crate) fn video(
        &mut self,
        out: &mut dyn Write,
        id: &[u8],
        best: &[(f32, u32)],
    ) -> io::Result<()> {
        match &mut self.parquet {
            Some(parquet) => parquet.add(out, id, best, self.names),
            None => self.written_as.write_video(out, id, best, self.names),
        }
    }

    pub(crate) fn end(self, out: &mut dyn Write) -> io::Result<()> {
        self.parquet.map_or(Ok(()), |parquet| parquet.end(out, self.names))
    }
}
