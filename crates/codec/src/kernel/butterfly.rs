//! Short transforms in registers: butterflies of eight complex numbers at a time.

use super::line_transform::ComplexLine;
use crate::vector::Vector;

/// Eight complex numbers in registers.
#[derive(Clone, Copy)]
pub(super) struct ComplexRegisters<V> {
    pub re: V,
    pub im: V,
}

impl<V: Vector> ComplexRegisters<V> {
    #[inline(always)]
    pub fn zero() -> Self {
        Self { re: V::zero(), im: V::zero() }
    }

    #[inline(always)]
    pub fn load(line: &ComplexLine) -> Self {
        Self { re: V::load(&line.re), im: V::load(&line.im) }
    }

    #[inline(always)]
    pub fn store(self, line: &mut ComplexLine) {
        self.re.store(&mut line.re);
        self.im.store(&mut line.im);
    }

    /// With real and imaginary parts in each other's place.
    #[inline(always)]
    pub fn exchanged(self) -> Self {
        Self { re: self.im, im: self.re }
    }

    #[inline(always)]
    pub fn times(self, [re, im]: &[f32; 2]) -> Self {
        let (re, im) = (V::splat(*re), V::splat(*im));
        Self { re: self.im.neg_mul_add(im, self.re.mul(re)), im: self.re.mul_add(im, self.im.mul(re)) }
    }

    /// Each times its own factor.
    #[inline(always)]
    pub fn times_line(self, factors: &ComplexLine) -> Self {
        let (re, im) = (V::load(&factors.re), V::load(&factors.im));
        Self { re: self.im.neg_mul_add(im, self.re.mul(re)), im: self.re.mul_add(im, self.im.mul(re)) }
    }

    #[inline(always)]
    pub fn add(self, other: Self) -> Self {
        Self { re: self.re.add(other.re), im: self.im.add(other.im) }
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self { re: self.re.sub(other.re), im: self.im.sub(other.im) }
    }

    /// Plus -i times the other.
    #[inline(always)]
    fn add_turned(self, other: Self) -> Self {
        Self { re: self.re.add(other.im), im: self.im.sub(other.re) }
    }

    /// Minus -i times the other.
    #[inline(always)]
    fn sub_turned(self, other: Self) -> Self {
        Self { re: self.re.sub(other.im), im: self.im.add(other.re) }
    }

    /// Plus a real factor times (re, im).
    #[inline(always)]
    fn add_scaled(self, factor: V, re: V, im: V) -> Self {
        Self { re: re.mul_add(factor, self.re), im: im.mul_add(factor, self.im) }
    }

    /// Minus a real factor times (re, im).
    #[inline(always)]
    fn sub_scaled(self, factor: V, re: V, im: V) -> Self {
        Self { re: re.neg_mul_add(factor, self.re), im: im.neg_mul_add(factor, self.im) }
    }
}

/// Transforms R numbers in place; `roots` are the powers of the root of unity of order R. Inputs from `IN` on count as
/// zeros: there is code for 3 or 4 inputs of 8, and for 2 of 4.
#[inline(always)]
pub(super) fn butterfly<V: Vector, const R: usize, const IN: usize>(
    x: &mut [ComplexRegisters<V>; R],
    roots: &[[f32; 2]],
) {
    match R {
        2 => (x[0], x[1]) = (x[0].add(x[1]), x[0].sub(x[1])),
        4 => {
            let [a, b, c, d] = [x[0], x[1], x[2], x[3]];
            [x[0], x[1], x[2], x[3]] = if IN == 2 { four_of_two(a, b) } else { four([a, b, c, d]) };
        }
        6 => six(x, roots),
        8 => {
            let (even, odd) = match IN {
                3 => (four_of_two(x[0], x[2]), [x[1]; 4]),
                4 => (four_of_two(x[0], x[2]), four_of_two(x[1], x[3])),
                _ => (four([x[0], x[2], x[4], x[6]]), four([x[1], x[3], x[5], x[7]])),
            };
            eight(x, even, odd);
        }
        _ => odd(x, roots),
    }
}

#[inline(always)]
fn four<V: Vector>(x: [ComplexRegisters<V>; 4]) -> [ComplexRegisters<V>; 4] {
    // Two steps of radix 2. The root between them is -i, which exchanges parts: 16 additions and no product.
    let (sum, difference, other, turned) = (x[0].add(x[2]), x[0].sub(x[2]), x[1].add(x[3]), x[1].sub(x[3]));
    [sum.add(other), difference.add_turned(turned), sum.sub(other), difference.sub_turned(turned)]
}

/// [`four`] of two numbers and two zeros.
#[inline(always)]
fn four_of_two<V: Vector>(x: ComplexRegisters<V>, y: ComplexRegisters<V>) -> [ComplexRegisters<V>; 4] {
    [x.add(y), x.add_turned(y), x.sub(y), x.sub_turned(y)]
}

/// Eight results from the transforms of the even and of the odd inputs.
#[inline(always)]
fn eight<V: Vector>(x: &mut [ComplexRegisters<V>], even: [ComplexRegisters<V>; 4], odd: [ComplexRegisters<V>; 4]) {
    (x[0], x[4]) = (even[0].add(odd[0]), even[0].sub(odd[0]));
    // The second power of the root is -i: parts are exchanged, nothing is multiplied.
    (x[2], x[6]) = (even[2].add_turned(odd[2]), even[2].sub_turned(odd[2]));
    // Times the first and third power of the root, (1 - i) and (-1 - i) over the root of two.
    let half = V::splat(std::f32::consts::FRAC_1_SQRT_2);
    for (k, odd) in [(1, odd[1]), (3, odd[3])] {
        let (sum, difference) = (odd.re.add(odd.im), odd.im.sub(odd.re));
        (x[k], x[k + 4]) = if k == 1 {
            (even[k].add_scaled(half, sum, difference), even[k].sub_scaled(half, sum, difference))
        } else {
            // Times -1 - i the real part takes the difference and the imaginary part minus the sum: the signs of the
            // two results are mixed.
            let plus = even[k].add_scaled(half, difference, sum);
            let minus = even[k].sub_scaled(half, difference, sum);
            (ComplexRegisters { re: plus.re, im: minus.im }, ComplexRegisters { re: minus.re, im: plus.im })
        };
    }
}

/// Six results from two transforms of three; `roots` are those of order six.
#[inline(always)]
fn six<V: Vector>(x: &mut [ComplexRegisters<V>], roots: &[[f32; 2]]) {
    // Cooley and Tukey's step with twiddles. Two and three are coprime, so a prime-factor step (Good-Thomas) would need
    // none, but it permutes inputs and results.
    let thirds = [roots[0], roots[2], roots[4]];
    let mut even = [x[0], x[2], x[4]];
    let mut odd_ones = [x[1], x[3], x[5]];
    odd(&mut even, &thirds);
    odd(&mut odd_ones, &thirds);
    for k in 0..3 {
        let turned = if k == 0 { odd_ones[0] } else { odd_ones[k].times(&roots[k]) };
        x[k] = even[k].add(turned);
        x[k + 3] = even[k].sub(turned);
    }
}

/// Transforms an odd number R, by sums and differences of the inputs i and R - i.
#[inline(always)]
fn odd<V: Vector, const R: usize>(x: &mut [ComplexRegisters<V>; R], roots: &[[f32; 2]]) {
    let inputs = *x;
    for input in &inputs[1..] {
        x[0] = x[0].add(*input);
    }
    // Cosines are even in i and sines odd, so inputs i and R - i share a product; results k and R - k share both sums.
    // That leaves a quarter of the products of the plain sum.
    for k in 1..=R / 2 {
        let mut even = inputs[0];
        let mut odd = ComplexRegisters::zero();
        for i in 1..=R / 2 {
            let (sum, difference) = (inputs[i].add(inputs[R - i]), inputs[i].sub(inputs[R - i]));
            let root = roots[i * k % R];
            let (cos, minus_sin) = (V::splat(root[0]), V::splat(root[1]));
            even = even.add_scaled(cos, sum.re, sum.im);
            odd = odd.sub_scaled(minus_sin, difference.re, difference.im);
        }
        x[k] = even.add_turned(odd);
        x[R - k] = even.sub_turned(odd);
    }
}
