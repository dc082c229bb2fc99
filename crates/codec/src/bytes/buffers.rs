//! Buffers that a thread keeps between calls: once warm, a codec that takes its buffers here allocates nothing, as long as
//! packets and activations are dropped by the thread that made them.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::thread::LocalKey;

/// Buffers of a type that are kept at most, and bytes that each may have at most.
const MOST: usize = 6;
const MOST_BYTES: usize = 1 << 24;

/// A number that buffers are kept of.
pub(crate) trait BufferNumber: Copy + Default + 'static {
    fn kept() -> &'static LocalKey<RefCell<Vec<Vec<Self>>>>;
}

macro_rules! numbers {
    ($($number:ty)*) => {$(
        impl BufferNumber for $number {
            fn kept() -> &'static LocalKey<RefCell<Vec<Vec<Self>>>> {
                thread_local!(static KEPT: RefCell<Vec<Vec<$number>>> = const { RefCell::new(Vec::new()) });
                &KEPT
            }
        }
    )*};
}
numbers!(u8 u16 i32 u32 f32 f64);

/// An empty vector with room for `capacity` numbers.
pub(crate) fn empty<T: BufferNumber>(capacity: usize) -> Vec<T> {
    let mut buffer = unspecified(0, capacity);
    buffer.clear();
    buffer
}

/// A vector of `length` numbers of unspecified value, all of them to be written.
pub(crate) fn floats(length: usize) -> Vec<f32> {
    let mut buffer = unspecified(length, length);
    buffer.resize(length, 0.0);
    buffer
}

/// The smallest kept buffer that is large enough; where there is none the largest, to be grown.
fn unspecified<T: BufferNumber>(length: usize, capacity: usize) -> Vec<T> {
    // At the end of a thread its buffers are gone, and a new one is made.
    let taken = T::kept().try_with(|kept| {
        let mut kept = kept.borrow_mut();
        let fits = (0..kept.len()).filter(|i| kept[*i].capacity() >= capacity).min_by_key(|i| kept[*i].capacity());
        fits.or_else(|| (0..kept.len()).max_by_key(|i| kept[*i].capacity())).map(|i| kept.swap_remove(i))
    });
    let mut buffer = taken.ok().flatten().unwrap_or_default();
    buffer.truncate(length);
    // What would be copied while growing is not wanted.
    if buffer.capacity() < capacity {
        buffer.clear();
        buffer.reserve_exact(capacity);
    }
    buffer
}

/// Keeps a buffer, in place of a smaller one where there are enough.
pub(crate) fn give<T: BufferNumber>(buffer: Vec<T>) {
    // A thread keeps its buffers for good, so large ones go back to the allocator.
    if buffer.capacity() == 0 || buffer.capacity() * size_of::<T>() > MOST_BYTES {
        return;
    }
    // During the end of a thread there is nothing to give it back to.
    let _ = T::kept().try_with(|kept| {
        let mut kept = kept.borrow_mut();
        if kept.len() < MOST {
            // Room for all at once, so that keeping does not allocate later.
            if kept.capacity() == 0 {
                kept.reserve_exact(MOST);
            }
            kept.push(buffer);
        } else if let Some(smallest) = kept.iter_mut().min_by_key(|kept| kept.capacity())
            && smallest.capacity() < buffer.capacity()
        {
            *smallest = buffer;
        }
    });
}

/// A buffer that is given back when it is dropped.
pub(crate) struct Scratch<T: BufferNumber>(Vec<T>);

impl<T: BufferNumber> Scratch<T> {
    /// Empty, with room for `capacity` numbers.
    pub fn new(capacity: usize) -> Self {
        Self(empty(capacity))
    }

    /// The vector itself, which is not given back.
    pub fn into_vec(mut self) -> Vec<T> {
        std::mem::take(&mut self.0)
    }
}

impl<T: BufferNumber> From<Vec<T>> for Scratch<T> {
    fn from(buffer: Vec<T>) -> Self {
        Self(buffer)
    }
}

impl<T: BufferNumber> Drop for Scratch<T> {
    fn drop(&mut self) {
        give(std::mem::take(&mut self.0));
    }
}

impl<T: BufferNumber> Deref for Scratch<T> {
    type Target = Vec<T>;

    fn deref(&self) -> &Vec<T> {
        &self.0
    }
}

impl<T: BufferNumber> DerefMut for Scratch<T> {
    fn deref_mut(&mut self) -> &mut Vec<T> {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_buffer_comes_back_and_few_are_kept() {
        let scratch = Scratch::<u32>::new(100);
        let place = scratch.as_ptr();
        drop(scratch);
        let again = Scratch::<u32>::new(90);
        assert!(again.is_empty() && again.as_ptr() == place);
        drop(again);
        (0..20).map(|i| empty::<u32>(1000 + i)).collect::<Vec<_>>().into_iter().for_each(give);
        assert_eq!(u32::kept().with_borrow(Vec::len), MOST);
        assert!(u32::kept().with_borrow(|kept| kept.iter().all(|buffer| buffer.capacity() >= 1014)));
        give(Vec::<u32>::with_capacity(MOST_BYTES));
        assert!(u32::kept().with_borrow(|kept| kept.iter().all(|buffer| buffer.capacity() < MOST_BYTES)));
    }

    #[test]
    fn floats_have_the_length_asked_for() {
        give(vec![1.0f32; 10]);
        assert_eq!(floats(4).len(), 4);
        give(vec![1.0f32; 10]);
        assert_eq!(floats(40).len(), 40);
        assert!(empty::<f32>(3).is_empty());
    }
}
