//! Communication among thread ranks: every collective, splitting, failing together, ordered sums.

use proptest::prelude::*;
use reelscale::internals::comm::{OrderedSum, run_threads_limited};
use reelscale::internals::partition::Owners;
use reelscale::{Comm, Error, Exit, run_threads};

/// Every collective with values that tell rank and place, on messages of at most `count_max` bytes.
fn check_collectives(comm: &Comm) {
    let (rank, size) = (comm.rank(), comm.size());
    for root in 0..size {
        let data: Vec<u32> =
            (0..23).map(|i| if rank == root { 100 * root as u32 + i } else { 0 }).collect();
        let mut exchange = comm.start_broadcast("data", root, data);
        exchange.poll();
        let data = exchange.wait();
        assert!(data.iter().enumerate().all(|(i, x)| *x == (100 * root + i) as u32));
    }
    let mine = vec![rank as u16; 3 * rank + 1];
    let parts = comm.all_gather_any(&mine);
    assert!(parts.iter().enumerate().all(|(r, part)| *part == vec![r as u16; 3 * r + 1]));
    let counts: Vec<usize> = (0..size).map(|r| (r + 2) % 3 * 5).collect();
    let room = vec![0u64; counts.iter().sum()];
    let mine = vec![rank as u64; counts[rank]];
    let all = comm.start_all_gather_unsealed(mine, &counts, room).wait();
    let expected: Vec<u64> = (0..size).flat_map(|r| vec![r as u64; counts[r]]).collect();
    assert_eq!(all, expected);
    let parts: Vec<Vec<u32>> =
        (0..size).map(|to| vec![(10 * rank + to) as u32; rank + to]).collect();
    let received = comm.all_to_all(parts);
    for (from, part) in received.iter().enumerate() {
        assert_eq!(*part, vec![(10 * from + rank) as u32; rank + from]);
    }
    assert_eq!(comm.max(rank as u64 + 5), size as u64 + 4);
    let mut sums = [1, rank as u64];
    comm.sum(&mut sums);
    assert_eq!(sums, [size as u64, (size * (size - 1) / 2) as u64]);
    comm.barrier();
}

#[test]
fn collectives_work_at_any_size_and_message_limit() {
    check_collectives(&Comm::serial());
    for size in [1, 2, 3, 5, 8] {
        for limit in [64, 129, 1 << 20] {
            run_threads_limited(size, limit, |comm| {
                check_collectives(comm);
                Ok(())
            })
            .unwrap();
        }
    }
}

#[test]
fn traffic_is_counted() {
    let counted = run_threads(4, |comm| {
        comm.broadcast(1, &mut [0u8; 100]);
        comm.all_gather(&[0u32; 5]);
        Ok(comm.traffic())
    });
    for (rank, traffic) in counted.unwrap().iter().enumerate() {
        assert_eq!(traffic.messages, 2);
        assert_eq!(traffic.bytes_sent, if rank == 1 { 128 } else { 24 });
        assert_eq!(traffic.bytes_received, if rank == 1 { 72 } else { 176 });
    }
}

#[test]
fn the_first_failure_ends_all_ranks() {
    let outcome = run_threads(4, |comm| {
        if comm.rank() == 2 {
            return Err(Error::input("a.h5: no"));
        }
        comm.barrier();
        Ok(())
    });
    let error = outcome.unwrap_err();
    assert_eq!((error.exit, error.text.as_str()), (Exit::Input, "a.h5: no"));
    let outcome = run_threads(3, |comm| {
        assert!(comm.rank() != 1, "on purpose");
        comm.barrier();
        Ok(())
    });
    let error = outcome.unwrap_err();
    assert_eq!((error.exit, error.text.as_str()), (Exit::Bug, "rank 1 panicked: on purpose"));
}

#[test]
fn errors_are_agreed_on() {
    let outcome = run_threads(3, |comm| {
        let own =
            if comm.rank() > 0 { Err(Error::usage(format!("{}", comm.rank()))) } else { Ok(()) };
        let agreed = comm.agree(own).unwrap_err();
        assert!(agreed.agreed);
        Ok((agreed.exit, agreed.text))
    });
    assert_eq!(outcome.unwrap(), vec![(Exit::Usage, "1".to_string()); 3]);
}

/// The definition: the largest power of two below the number of leaves goes left.
fn reference(leaves: &[Vec<f32>]) -> Vec<f32> {
    if leaves.len() == 1 {
        return leaves[0].clone();
    }
    let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
    reference(left).iter().zip(reference(right)).map(|(left, right)| left + right).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn the_ordered_sum_has_the_bits_of_the_tree(
        count in 1usize..300,
        size in 1usize..9,
        length in 0usize..50,
        seed in any::<u32>(),
    ) {
        let value = |leaf: usize, at: usize| {
            let place = leaf as u32 * 7919 + at as u32;
            let mixed = place.wrapping_mul(seed | 1).wrapping_mul(2654435761);
            f32::from_bits((mixed % 0x0800_0000 + 0x3b00_0000) | (mixed & 0x8000_0000))
        };
        let leaves: Vec<Vec<f32>> =
            (0..count).map(|leaf| (0..length).map(|at| value(leaf, at)).collect()).collect();
        let expected: Vec<u32> = reference(&leaves).iter().map(|x| x.to_bits()).collect();
        let results = run_threads(size, |comm| {
            let runs = Owners::even(count, size, comm.rank()).runs();
            let make = || {
                let mut sum = OrderedSum::new(comm, "numbers", runs.clone(), length);
                runs[comm.rank()].clone().for_each(|leaf| sum.add(leaves[leaf].clone()));
                sum
            };
            let cut = length / 3;
            let slices: Vec<_> = (0..size)
                .map(|rank| match rank {
                    0 => 0..cut,
                    rank if rank + 1 == size => cut..length,
                    _ => cut..cut,
                })
                .collect();
            let part = make().finish_scattered(comm, &slices);
            let whole = make().finish(comm);
            assert_eq!(part, whole[slices[comm.rank()].clone()]);
            Ok(whole.iter().map(|x| x.to_bits()).collect::<Vec<_>>())
        });
        for result in results.unwrap() {
            prop_assert_eq!(&result, &expected);
        }
    }
}
