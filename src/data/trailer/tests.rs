//! Proofs come back, and whatever is wrong with one is found.

use super::*;

/// An HDF5 file as far as a proof knows: a superblock of version 3, and bytes.
fn hdf5(length: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..length).map(|at| (at * 7 % 251) as u8).collect();
    bytes[..12].copy_from_slice(b"\x89HDF\r\n\x1a\n\x03\x08\x08\x00");
    bytes[12..20].fill(0);
    bytes[28..36].copy_from_slice(&(length as u64).to_le_bytes());
    bytes
}

fn sealed(length: usize, places: &[(u64, u64)]) -> Vec<u8> {
    let mut bytes = hdf5(length);
    let chunk = |&(at, size): &(u64, u64)| {
        let stored = &bytes[at as usize..][..size as usize];
        Chunk { at, bytes: size, digest: digest(stored) }
    };
    let chunks = places.iter().map(chunk).collect();
    let trailer = Trailer::new(&bytes[..], length as u64, chunks, 77).unwrap();
    bytes.extend(trailer.to_bytes());
    bytes
}

fn check(bytes: &[u8]) -> Result<Option<Trailer>, Fault> {
    let trailer = Trailer::read(bytes, bytes.len() as u64)?;
    trailer.iter().try_for_each(|trailer| trailer.check_outside(bytes))?;
    Ok(trailer)
}

const PLACES: [(u64, u64); 3] = [(300, 50), (100, 64), (350, 150)];

#[test]
fn what_is_written_comes_back() {
    let bytes = sealed(500, &PLACES);
    assert_eq!(bytes.len(), 500 + 3 * 32 + 80);
    let trailer = check(&bytes).unwrap().unwrap();
    assert_eq!((trailer.hdf5_bytes, trailer.content), (500, 77));
    let places: Vec<_> = trailer.chunks.iter().map(|chunk| (chunk.at, chunk.bytes)).collect();
    assert_eq!(places, PLACES);
    assert_eq!(bytes[500..], trailer.to_bytes());
    let none = check(&sealed(500, &[])).unwrap().unwrap();
    assert!(none.chunks.is_empty());
    assert!(check(&hdf5(500)).unwrap().is_none(), "ends where HDF5 does");
}

/// Known answers, of `xxh128sum` and of this very layout.
#[test]
fn bytes_are_as_documented() {
    assert_eq!(format!("{:032x}", digest(b"")), "99aa06d3014798d86001c324468d497f");
    let bytes = sealed(500, &PLACES);
    assert_eq!(&bytes[bytes.len() - 8..], b"reelseal");
    assert_eq!(bytes[bytes.len() - 32..][..8], [2, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(
        bytes[bytes.len() - 80..][..16],
        [&500u64.to_le_bytes()[..], &3u64.to_le_bytes()].concat()
    );
    assert_eq!(bytes[500..516], [&300u64.to_le_bytes()[..], &50u64.to_le_bytes()].concat());
    assert_eq!(bytes[516..532], digest(&bytes[300..350]).to_be_bytes());
    let outside = [&bytes[..100], &bytes[164..300]].concat();
    assert_eq!(bytes[bytes.len() - 64..][..16], digest(&outside).to_be_bytes());
    let proven = &bytes[500..bytes.len() - 24];
    assert_eq!(bytes[bytes.len() - 24..][..16], digest(proven).to_be_bytes());
}

#[test]
fn every_flip_outside_chunks_is_found() {
    let whole = sealed(500, &PLACES);
    for at in 0..whole.len() {
        let in_chunk =
            PLACES.iter().any(|(from, size)| (*from..from + size).contains(&(at as u64)));
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            assert_eq!(check(&bytes).is_ok(), in_chunk, "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn cut_and_longer_files_are_found() {
    let whole = sealed(500, &PLACES);
    for length in (0..whole.len()).filter(|length| *length != 500) {
        assert!(check(&whole[..length]).is_err(), "cut at {length}");
    }
    assert!(
        check(&whole[..500]).unwrap().is_none(),
        "the proof alone is gone: told by the version"
    );
    let tail = &whole[500..];
    for extra in [&[0][..], &[0; 32], &[0; 80], tail, &whole] {
        assert!(check(&[&whole, extra].concat()).is_err(), "{} bytes more", extra.len());
    }
}

/// Proofs whose own digest is right, of what can't be.
#[test]
fn refitted_proofs_are_refused() {
    let refit = |change: &dyn Fn(&mut Trailer)| {
        let mut bytes = hdf5(500);
        let chunk = Chunk { at: 100, bytes: 50, digest: 0 };
        let mut trailer = Trailer::new(&bytes[..], 500, vec![chunk], 0).unwrap();
        change(&mut trailer);
        bytes.extend(trailer.to_bytes());
        check(&bytes)
    };
    assert!(refit(&|_| ()).is_ok());
    assert!(refit(&|trailer| trailer.hdf5_bytes = 499).is_err());
    assert!(refit(&|trailer| trailer.chunks[0].bytes = 401).is_err());
    assert!(refit(&|trailer| trailer.chunks[0].at = u64::MAX).is_err());
    assert!(refit(&|trailer| trailer.chunks[0].bytes = u64::MAX).is_err());
    assert!(refit(&|trailer| trailer.chunks.push(trailer.chunks[0])).is_err());
}

#[test]
fn what_isnt_hdf5_is_told() {
    let text = |bytes: &[u8]| match superblock::end(bytes, bytes.len() as u64) {
        Ok(end) => format!("ends at {end}"),
        Err(Fault::Wrong { text, .. }) => text,
        Err(Fault::Io(error)) => panic!("{error}"),
    };
    assert_eq!(text(b""), "found 0 bytes that aren't an HDF5 file");
    assert_eq!(text(&hdf5(500)), "ends at 500");
    assert!(text(&hdf5(500)[..499]).contains("cut or not closed"));
    let behind = [&[0; 1024][..], &hdf5(500)].concat();
    assert!(text(&behind).contains("user block of 1024 bytes"));
    let with = |at: usize, byte: u8| {
        let mut bytes = hdf5(500);
        bytes[at] = byte;
        text(&bytes)
    };
    assert!(with(8, 4).contains("version 4"));
    assert!(with(9, 4).contains("offsets of 4 bytes"));
    assert!(with(11, 1).contains("not closed"));
    assert!(with(12, 1).contains("don't begin"));
}
