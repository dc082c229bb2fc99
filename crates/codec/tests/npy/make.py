"""Makes the .npy files beside it, which src/npy_tests.rs reads: python3 make.py (NumPy 1.26 or newer).

Element (r, c) of every matrix is (r - 1) * 4 + c / 2, exact in all types.
"""

import pathlib

import numpy as np

here = pathlib.Path(__file__).parent
a = np.fromfunction(lambda r, c: (r - 1) * 4 + c / 2, (3, 5))


def save(name, array, version=None):
    with open(here / f"{name}.npy", "wb") as file:
        np.lib.format.write_array(file, array, version=version)


for kind in ["<f2", "<f4", "<f8"]:
    save(f"c-{kind[1:]}", a.astype(kind))
    save(f"fortran-{kind[1:]}", np.asfortranarray(a.astype(kind)))
save("version-2", a.astype("<f4"), (2, 0))
save("version-3", a.astype("<f4"), (3, 0))
save("big-endian", a.astype(">f4"))
save("int64", a.astype("<i8"))
save("complex", a.astype("<c8"))
save("one-dimension", a[0].astype("<f4"))
save("three-dimensions", a[None].astype("<f4"))
save("no-rows", a[:0].astype("<f4"))
save("objects", a.astype(object))
save("structured", np.zeros((3, 5), dtype=[("x", "<f4"), ("y", "<i4")]))
save("beyond-f32", np.where(a == 4.5, 1e39, a))
save("nan", np.asfortranarray(np.where(a == 4.5, np.nan, a)))
