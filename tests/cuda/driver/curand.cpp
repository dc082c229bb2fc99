// cuRAND: a generator that can be made. No random number is drawn on the GPU.
#include "driver.h"

API int curandCreateGenerator(void **generator, int) { return *generator = (void *)1, 0; }
API int curandDestroyGenerator(void *) { return 0; }
API int curandSetPseudoRandomGeneratorSeed(void *, unsigned long long) { return 0; }
API int curandSetGeneratorOffset(void *, unsigned long long) { return 0; }
API int curandSetStream(void *, void *) { return 0; }
