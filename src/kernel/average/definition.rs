//! What the bits of an average's update are: one weight (docs/method.md, section 4.2).

/// Moves `average` towards the weight `w` by `share` of what lies between.
pub fn update(average: &mut f32, w: f32, share: f32) {
    let between = w - *average;
    *average = share.mul_add(between, *average);
}
