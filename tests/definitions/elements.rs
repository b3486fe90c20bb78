//! What goes number by number, or row by row: scaling, dropout, and the updates of optimizers.

use reelscale::internals::kernel::adam::Moments;
use reelscale::internals::kernel::coefficients::Coefficients;
use reelscale::internals::kernel::irprop::{Bounds, Memory};
use reelscale::internals::kernel::normalise::normalise_l2;
use reelscale::internals::kernel::standardise::standardise;
use reelscale::internals::kernel::{
    adagrad, adam, add, average, dequantise, dropout, finite, irprop, normalise, permutation,
    philox, standardise as columns,
};
use reelscale::internals::rng::{Permutation, Purpose, Stream};

use super::draws::Draws;
use super::{cases, kernels, same};

#[test]
fn bytes_become_numbers_by_definition() {
    for case in 0..cases(60) {
        let mut draws = Draws::new(case);
        let bytes: Vec<u8> = (0..draws.far(1000)).map(|_| draws.byte()).collect();
        let [scale, offset] = [draws.number(0.1), draws.number(2.0)];
        let expected: Vec<f32> =
            bytes.iter().map(|byte| dequantise::definition::number(*byte, scale, offset)).collect();
        for kernel in kernels() {
            let mut found = vec![7.0; bytes.len()];
            dequantise::from_bytes(kernel, &bytes, &mut found, [scale, offset]);
            same(&found, &expected, &|| format!("case {case} on {kernel:?}"));
        }
    }
}

#[test]
fn halves_become_numbers_by_definition() {
    let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    let expected: Vec<f32> = (0..=u16::MAX).map(dequantise::definition::half).collect();
    for (bits, found) in expected.iter().enumerate() {
        let number = half::f16::from_bits(bits as u16).to_f32();
        let same = found.to_bits() == number.to_bits() || found.is_nan() && number.is_nan();
        assert!(same, "{bits:x}: {found}, {number}");
    }
    for kernel in kernels() {
        let mut found = vec![7.0; expected.len()];
        dequantise::from_halves(kernel, &bytes, &mut found);
        same(&found, &expected, &|| format!("{kernel:?}"));
    }
}

#[test]
fn rows_are_scaled_by_definition() {
    for case in 0..cases(60) {
        let mut draws = Draws::new(case);
        let (rows, width) = (draws.size(), draws.far(200));
        let size = draws.one_of(&[1e-30, 1e-6, 1.0, 1e10, 1e19]);
        let matrix = draws.matrix(rows, width, size);
        let (means, scales) = (draws.numbers(width, 1.0), draws.numbers(width, 3.0));
        let mut expected = [matrix.clone(), matrix.clone()];
        for row in 0..rows {
            normalise::definition::normalise_l2(&mut expected[0].row_mut(row)[..width]);
            for (x, (mean, scale)) in
                expected[1].row_mut(row)[..width].iter_mut().zip(means.iter().zip(&scales))
            {
                *x = columns::definition::number(*x, *mean, *scale);
            }
        }
        let mut found = matrix.clone();
        standardise(&mut found, &means, &scales);
        same(&found.data, &expected[1].data, &|| format!("standardised, case {case}"));
        for kernel in kernels() {
            let mut found = matrix.clone();
            normalise_l2(kernel, &mut found);
            same(&found.data, &expected[0].data, &|| format!("case {case} on {kernel:?}"));
        }
    }
}

#[test]
fn words_and_what_they_leave_out_are_those_of_the_stream() {
    for case in 0..cases(60) {
        let mut draws = Draws::new(case);
        let count = draws.far(500);
        let numbers = draws.numbers(count, 10.0);
        let bound = draws.one_of(&[0, 1, 64, 128, 255, 256]);
        let index = draws.one_of(&[0, 77, u32::MAX as usize, (1 << 48) - 1]);
        let mut stream = Stream::new(case << 31, Purpose::Dropout, index as u64);
        let expected: Vec<u32> =
            (0..numbers.len().div_ceil(4)).map(|_| stream.next_u32()).collect();
        let bytes: Vec<u8> = expected.iter().flat_map(|word| word.to_le_bytes()).collect();
        let pairs = || numbers.iter().zip(&bytes);
        let left: Vec<f32> =
            pairs().map(|(x, byte)| dropout::definition::number(*x, *byte, bound)).collect();
        let kept = pairs().filter(|(_, byte)| u32::from(**byte) >= bound);
        let kept: Vec<u32> = kept.map(|(x, _)| x.to_bits()).collect();
        for kernel in kernels() {
            let (mut words, mut found) = (vec![7; expected.len()], numbers.clone());
            philox::fill(kernel, &stream, &mut words);
            assert_eq!(words, expected, "case {case} on {kernel:?}");
            dropout::drop_out(kernel, &mut found, bound, &stream);
            same(&found, &left, &|| format!("case {case} on {kernel:?}"));
            // The same by way of what is sent.
            let mut mask = vec![7; dropout::mask_words(count)];
            assert_eq!(dropout::left(kernel, count, bound, &stream, &mut mask), kept.len());
            let mut sent = vec![7; kept.len() + mask.len()];
            dropout::compress(kernel, &numbers, &mask, &mut sent);
            assert_eq!(sent[..kept.len()], kept, "case {case} on {kernel:?}");
            let mut found = vec![7.0; count];
            dropout::expand(kernel, &sent, &mask, bound, &mut found);
            same(&found, &left, &|| format!("sent, case {case} on {kernel:?}"));
        }
    }
}

#[test]
fn items_of_many_places_are_those_of_each_place() {
    for case in 0..cases(60) {
        let mut draws = Draws::new(case);
        let (some, large) = (draws.some(), draws.one_of(&[1 << 10, 1 << 20, 1 << 32, 1 << 40]));
        let count = draws.one_of(&[some, 1000, large - 1, large, large + 1]);
        let permutation = Permutation::new(case, Purpose::RowOrder, 1, count);
        let first = draws.below(count);
        let places = first..count.min(first + draws.far(1200));
        let expected: Vec<usize> = places.clone().map(|place| permutation.at(place)).collect();
        for kernel in kernels() {
            let mut found = vec![7; expected.len()];
            permutation::items(kernel, &permutation, first, &mut found);
            assert_eq!(found, expected, "places {places:?} of {count} on {kernel:?}");
            permutation::places(kernel, &permutation, &mut found);
            assert!(found.into_iter().eq(places.clone()), "back of {count} on {kernel:?}");
        }
    }
}

/// Weights, a gradient, two vectors of state that aren't negative, and what steps are told.
struct Update {
    weights: Vec<f32>,
    gradient: Vec<f32>,
    states: [Vec<f32>; 2],
    coefficients: Coefficients,
}

impl Update {
    fn new(case: u64) -> Update {
        let mut draws = Draws::new(case);
        let count = draws.far(1000);
        let size = draws.one_of(&[1e-20, 1e-3, 1.0, 1e4]);
        let [weights, gradient] = [1.0, size].map(|size| draws.numbers(count, size));
        let state = || draws.numbers(count, 3.0).iter().map(|x| x.abs()).collect();
        let states = std::array::from_fn({
            let mut state = state;
            move |_| state()
        });
        let mut draws = Draws::new(case + 500);
        let (rate, scale) = (draws.one_of(&[1.0, 0.01, 3e-4]), 1.0 / draws.some() as f32);
        let coefficients = Coefficients { rate, scale, l2: draws.one_of(&[0.0, 1e-8, 0.1]) };
        Update { weights, gradient, states, coefficients }
    }
}

#[test]
fn adagrad_steps_by_definition() {
    for case in 0..cases(60) {
        let Update { weights, gradient, states: [squares, _], coefficients } = Update::new(case);
        let (mut w, mut n) = (weights.clone(), squares.clone());
        for index in 0..w.len() {
            adagrad::definition::update(
                &mut w[index],
                gradient[index],
                &mut n[index],
                coefficients,
            );
        }
        for kernel in kernels() {
            let mut found = [weights.clone(), squares.clone()];
            let [weights, squares] = &mut found;
            adagrad::update(kernel, weights, &gradient, squares, coefficients);
            same(&found.concat(), &[&w[..], &n].concat(), &|| format!("case {case}, {kernel:?}"));
        }
    }
}

#[test]
fn adam_steps_by_definition() {
    for case in 0..cases(60) {
        let Update { weights, gradient, states: [first, second], coefficients } = Update::new(case);
        let (mut w, mut m, mut v) = (weights.clone(), first.clone(), second.clone());
        for at in 0..w.len() {
            adam::definition::update(
                &mut w[at],
                gradient[at],
                &mut m[at],
                &mut v[at],
                coefficients,
            );
        }
        for kernel in kernels() {
            let mut found = [weights.clone(), first.clone(), second.clone()];
            let [weights, first, second] = &mut found;
            adam::update(kernel, weights, &gradient, Moments { first, second }, coefficients);
            let expected = [&w[..], &m, &v].concat();
            same(&found.concat(), &expected, &|| format!("case {case} on {kernel:?}"));
        }
    }
}

#[test]
fn sums_are_added_by_definition() {
    for case in 0..cases(60) {
        let Update { weights: left, gradient: right, .. } = Update::new(case);
        let mut expected = left.clone();
        expected.iter_mut().zip(&right).for_each(|(left, right)| {
            add::definition::add(left, *right);
        });
        for kernel in kernels() {
            let mut found = left.clone();
            add::add(kernel, &mut found, &right);
            same(&found, &expected, &|| format!("case {case} on {kernel:?}"));
        }
    }
}

#[test]
fn averages_move_by_definition() {
    for case in 0..cases(60) {
        let Update { weights, states: [average, _], coefficients, .. } = Update::new(case);
        let mut expected = average.clone();
        for (average, weight) in expected.iter_mut().zip(&weights) {
            average::definition::update(average, *weight, coefficients.scale);
        }
        for kernel in kernels() {
            let mut found = average.clone();
            average::update(kernel, &mut found, &weights, coefficients.scale);
            same(&found, &expected, &|| format!("case {case} on {kernel:?}"));
        }
    }
}

#[test]
fn irprop_steps_by_definition() {
    for case in 0..cases(60) {
        let Update { weights, gradient, states: [sizes, moves], .. } = Update::new(case);
        let mut draws = Draws::new(case + 700);
        let before = draws.numbers(weights.len(), 1.0);
        let bounds = Bounds { min: 1e-6, max: draws.one_of(&[0.1, 2.0]) };
        for rose in [false, true] {
            let mut expected = [weights.clone(), sizes.clone(), before.clone(), moves.clone()];
            for at in 0..weights.len() {
                let mut remembered = irprop::definition::Remembered {
                    size: sizes[at],
                    gradient: before[at],
                    moved: moves[at],
                };
                let w = &mut expected[0][at];
                irprop::definition::update(w, gradient[at], &mut remembered, bounds, rose);
                expected[1][at] = remembered.size;
                expected[2][at] = remembered.gradient;
                expected[3][at] = remembered.moved;
            }
            let mut found = [weights.clone(), sizes.clone(), before.clone(), moves.clone()];
            let [weights, sizes, gradients, moves] = &mut found;
            let memory = Memory { sizes, gradients, moves };
            irprop::update(weights, &gradient, memory, bounds, rose);
            same(&found.concat(), &expected.concat(), &|| format!("case {case}, rose {rose}"));
        }
    }
}

#[test]
fn what_is_below_a_bound_is_told_by_definition() {
    let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, -f32::MAX];
    for case in 0..cases(200) {
        let mut draws = Draws::new(case);
        let count = draws.far(500);
        let mut numbers = draws.numbers(count, 1.0);
        if !numbers.is_empty() && draws.below(2) == 0 {
            let at = draws.below(numbers.len());
            numbers[at] = draws.one_of(&odd);
        }
        for bound in [f32::MIN_POSITIVE, 0.5, 1.0, 1e30, f32::INFINITY] {
            let expected = numbers.iter().all(|x| finite::definition::below(*x, bound));
            for kernel in kernels() {
                let found = finite::all_below(kernel, &numbers, bound);
                assert_eq!(found, expected, "case {case}: {bound} on {kernel:?}");
            }
            if bound == f32::INFINITY {
                let found = kernels().iter().all(|one| finite::all_finite(*one, &numbers));
                assert_eq!(found, expected, "case {case}");
            }
        }
    }
}
