//! What the bits of a sweep are: one class of one row, a line for each operation in its order
//! (docs/method.md, sections 3.1 and 3.2). Only `mul_add` is fused; `exp`, `log` and
//! `smaller_sigmoid` are those of `functions/definition.rs`.

use crate::kernel::functions::definition::{exp, log, smaller_sigmoid};
use crate::kernel::mixture::layout::Dummy;

/// Where logits stop where eps is 0.
const SATURATED: f32 = 40.0;

/// What the sweep of a class of a row is given beside its logits.
#[derive(Clone, Copy, Debug)]
pub struct Given {
    pub dummy: Dummy,
    /// eps of the loss; exactly 0 asks for the exact cross entropy.
    pub epsilon: f32,
    /// Whether the row has the label.
    pub positive: bool,
    /// 1 of a class, 0 of a lane that fills up the last group of sixteen.
    pub mask: f32,
    /// What the row's loss and gradients count; 1 where rows have no weights, and for scores.
    pub weight: f32,
}

/// What a class of a row comes to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    pub(crate) p: f32,
    pub(crate) loss: f32,
}

/// Puts dL/da in the place of the gate logits a and dL/dz in that of the expert logits z.
///
/// There are as many gates as the layout's group has: a learned dummy's first, then one for each
/// expert; none where the group's classes have one expert and no dummy. A gate of an expert that
/// the class doesn't have has the logit -1e30 and so gets e = 0.
pub fn class(a: &mut [f32], z: &mut [f32], given: Given) -> Found {
    let Given { dummy, epsilon, positive, mask, weight } = given;
    let exact = epsilon == 0.0;
    let gated = !a.is_empty();
    let learned = usize::from(dummy == Dummy::Learned && gated);

    // e = exp(a - largest a), of the dummy state too.
    let mut largest = if dummy == Dummy::Zero { 0.0 } else { f32::NEG_INFINITY };
    for a in &*a {
        largest = if *a > largest { *a } else { largest };
    }
    let stopped = |below: f32| exact && below < -SATURATED && below > -1e29;
    let e_of = |a: f32| {
        let below = a - largest;
        exp(if stopped(below) { -SATURATED } else { below })
    };
    let e: Vec<f32> = a.iter().map(|a| e_of(*a)).collect();
    let e_absent = match dummy {
        Dummy::Learned => e.first().copied().unwrap_or(0.0),
        Dummy::Zero => e_of(0.0),
        Dummy::None => 0.0,
    };
    let mut total = if dummy == Dummy::Zero { e_absent } else { 0.0 };
    for e in &e {
        total += e;
    }
    if !gated {
        total = 1.0;
    }
    let e_expert = |h: usize| if gated { e[learned + h] } else { 1.0 };

    // p = sum of e s / total, q = 1 - p = (e of the dummy + sum of e t) / total; s + t = 1.
    let (mut p, mut q) = (0.0, e_absent);
    let mut beyond_p = f32::INFINITY;
    let mut beyond_q = if dummy == Dummy::None { f32::INFINITY } else { 0.0 };
    // The smaller of s and t of each expert, and whether that is t.
    let mut smaller = vec![(0.0, false); z.len()];
    for (h, z) in z.iter().enumerate() {
        let (mut z, e) = (*z, e_expert(h));
        if exact {
            // An expert that its class doesn't have says nothing about the asymptote.
            let present = if e > 0.0 { 0.0 } else { f32::INFINITY };
            let over = (z - SATURATED).max(0.0) + present;
            let under = (-z - SATURATED).max(0.0) + present;
            beyond_q = beyond_q.min(over);
            beyond_p = beyond_p.min(under);
            z = z.clamp(-SATURATED, SATURATED);
        }
        let small = smaller_sigmoid(z);
        let big = 1.0 - small;
        // -0 counts as above 0.
        let above = z >= 0.0;
        let (s, t) = if above { (big, small) } else { (small, big) };
        p = e.mul_add(s, p);
        q = e.mul_add(t, q);
        smaller[h] = (small, above);
    }
    let share = 1.0 / total;
    p *= share;
    q *= share;

    // The loss, and what all gradients of the class have in common.
    let truth = if positive { p } else { q };
    let mut loss = -log(truth + epsilon);
    if exact {
        loss += if positive { beyond_p } else { beyond_q };
    }
    loss *= weight;
    loss *= mask;
    let mut factor = share / (truth + epsilon);
    factor *= mask;
    factor *= weight;

    if learned == 1 {
        // q - t = -p and p - s = p, since the dummy has t = 1 and s = 0.
        a[0] = e[0] * if positive { p } else { -p } * factor;
    }
    for (h, z) in z.iter_mut().enumerate() {
        let ((small, above), e) = (smaller[h], e_expert(h));
        let big = 1.0 - small;
        // s where the label is there, t where it isn't: what the expert gives to the truth.
        let own = if above == positive { big } else { small };
        if gated {
            a[learned + h] = e * (truth - own) * factor;
        }
        let slope = e * (small * big) * factor;
        *z = if positive { -slope } else { slope };
    }
    Found { p, loss }
}
