//! How large features may be for what scales them to give numbers: beyond, a row's length or a
//! feature's distance from its mean is infinite, and the row would become zeros or NaN in silence.

use super::spec::{Normalize, Standard};
use crate::kernel::matrix::stride_of;
use crate::kernel::normalise::squares;

/// What features must be.
#[derive(Clone, Debug)]
pub struct FeatureBounds {
    normalize: Normalize,
    standard: Standard,
    /// Values below it, whatever their sign, are fine wherever they stand; others may be.
    pub(crate) surely: f32,
}

/// What is wrong with a row.
#[derive(Clone, Debug, PartialEq)]
pub struct TooLarge {
    pub(crate) column: usize,
    pub(crate) value: f32,
    /// What can't be computed from it.
    pub(crate) what: &'static str,
}

impl FeatureBounds {
    /// Those of rows of `width` features, `standard` being what they are standardised by.
    pub fn new(normalize: Normalize, standard: Option<&Standard>, width: usize) -> FeatureBounds {
        let standard = standard.cloned().unwrap_or_default();
        // Half of what there is: sums and products round.
        let half = f32::MAX / 2.0;
        let surely = match normalize {
            Normalize::L2 => (half / width.max(1) as f32).sqrt(),
            Normalize::Standardise => {
                let places = standard.means.iter().zip(&standard.scales);
                let farthest = |(mean, scale): (&f32, &f32)| half / scale.max(1.0) - mean.abs();
                places.map(farthest).fold(half, f32::min)
            }
            Normalize::None => f32::INFINITY,
        };
        FeatureBounds { normalize, standard, surely }
    }

    /// Those of rows that nothing scales: any number will do.
    pub fn none() -> FeatureBounds {
        FeatureBounds::new(Normalize::None, None, 0)
    }

    /// The value of a row of finite numbers that is too large, if one is.
    pub fn too_large(&self, row: &[f32]) -> Option<TooLarge> {
        let found = |column: usize, what| TooLarge { column, value: row[column], what };
        match self.normalize {
            Normalize::None => None,
            Normalize::L2 => {
                let mut padded = row.to_vec();
                padded.resize(stride_of(row.len()), 0.0);
                let largest = |a: &usize, b: &usize| row[*a].abs().total_cmp(&row[*b].abs());
                let infinite = !squares(&padded).is_finite();
                let column = (0..row.len()).max_by(largest).filter(|_| infinite)?;
                Some(found(column, "the sum of the row's squares"))
            }
            Normalize::Standardise => {
                let places = row.iter().zip(&self.standard.means).zip(&self.standard.scales);
                let scaled = places.map(|((x, mean), scale)| (x - mean) * scale);
                let column = scaled.into_iter().position(|x| !x.is_finite())?;
                Some(found(column, "its distance from the mean in standard deviations"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::matrix::Matrix;
    use crate::kernel::normalise::normalise_l2;
    use crate::kernel::standardise::standardise;
    use crate::kernel::vector::Instructions;

    fn scaled(normalize: Normalize, standard: &Standard, row: &[f32]) -> Vec<f32> {
        let mut matrix = Matrix::from_rows(row, row.len());
        match normalize {
            Normalize::L2 => normalise_l2(Instructions::detect(), &mut matrix),
            Normalize::Standardise => standardise(&mut matrix, &standard.means, &standard.scales),
            Normalize::None => {}
        }
        matrix.row(0)[..row.len()].to_vec()
    }

    #[test]
    fn rows_within_bounds_are_scaled_to_numbers_and_others_arent() {
        let standard = Standard { means: vec![0.0, -3e30, 1e3], scales: vec![1.0, 2e-30, 1e30] };
        let values = [0.0, 1.0, 1e8, 9.96921e36, 1e19, 1.8e19, 1.9e19, 4e18, 3e38, -1e20, 1e-30];
        for normalize in [Normalize::None, Normalize::L2, Normalize::Standardise] {
            let bounds = FeatureBounds::new(normalize, Some(&standard), 3);
            for (at, value) in values.iter().flat_map(|v| [(0, v), (1, v), (2, v)]) {
                let mut row = [0.5f32; 3];
                row[at] = *value;
                let lost = |x: &f32| !x.is_finite();
                let found = scaled(normalize, &standard, &row);
                // Where the length is infinite all become zeros.
                let zeros = normalize == Normalize::L2 && found == [0.0; 3];
                let wrong = found.iter().any(lost) || zeros;
                let too_large = bounds.too_large(&row);
                assert_eq!(too_large.is_some(), wrong, "{normalize:?} {row:?} -> {found:?}");
                assert!(!wrong || value.abs() >= bounds.surely, "{normalize:?} {row:?}");
                assert!(too_large.is_none_or(|it| (it.column, it.value) == (at, *value)));
            }
        }
        assert!(FeatureBounds::new(Normalize::L2, None, 1152).surely > 3e17);
    }
}
