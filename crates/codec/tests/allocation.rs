//! Once a thread is warm, the codecs that a device runs token by token allocate nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use splitbench_codec::{Activation, Budget, CodecSpec, build};

struct Counting;

thread_local!(static CALLS: Cell<usize> = const { Cell::new(0) });

// SAFETY: everything is the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.set(CALLS.get() + 1);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn activation(tokens: usize, hidden: usize) -> Activation {
    let value = |i: usize| ((i * i + 31 * i) % 1009) as f32 / 100.0 - 5.0;
    Activation::new(tokens, hidden, (0..tokens * hidden).map(value).collect()).unwrap()
}

/// Shapes take the kernel's sums, its fast transforms along the tokens, and the library's.
#[test]
fn warm_codecs_allocate_nothing() {
    for (tokens, hidden) in [(54, 192), (31, 192), (331, 64), (9, 50)] {
        let a = activation(tokens, hidden);
        for spec in [
            "fc",
            "fc:band=corner",
            "fc:band=centered",
            "fc:values=int8",
            "topk",
            "topk:values=int8",
            "int8",
            "int8:group=64",
            "int4",
            "fp8",
            "fp8:format=e5m2,group=tensor",
            "noop:values=bf16",
            "q80",
            "q4_0",
            "hadamard-int4",
        ] {
            let codec = build(&CodecSpec::parse(spec).unwrap(), None).unwrap();
            let budgets = [Budget::elements(7.6).unwrap(), Budget::wire(7.6).unwrap()];
            for budget in &budgets[..if spec.starts_with("topk") { 1 } else { 2 }] {
                let pass = || drop(codec.decode(&codec.encode(&a, Some(*budget)).unwrap()).unwrap());
                (0..3).for_each(|_| pass());
                let before = CALLS.get();
                (0..3).for_each(|_| pass());
                assert_eq!(CALLS.get() - before, 0, "{spec}, {tokens} x {hidden}, {budget:?}");
            }
        }
    }
}
