//! Dropout of numbers by random bytes (docs/method.md, section 2.6).

pub mod definition;

/// Numbers whose random byte is below this, of 256, are left out, for dropout of `share` of them.
pub fn bound(share: f32) -> u32 {
    (share * 256.0).round() as u32
}

/// Multiplies each of `numbers` by 0 where its random byte is below `bound`, which is at most 256,
/// else by 256 / (256 - `bound`). Four numbers take the four bytes of one word, lowest first.
pub fn drop_out(numbers: &mut [f32], bound: u32, mut word: impl FnMut() -> u32) {
    assert!(bound <= 256, "a bound of bytes");
    let scale = 256.0 / (256 - bound) as f32;
    for numbers in numbers.chunks_mut(4) {
        let bytes = word().to_le_bytes();
        for (number, byte) in numbers.iter_mut().zip(bytes) {
            *number *= if u32::from(byte) < bound { 0.0 } else { scale };
        }
    }
}
