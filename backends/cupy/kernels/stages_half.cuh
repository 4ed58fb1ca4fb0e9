// What the stages of linear_half_hopper.cu and linear_half_batch.cu hold, multiplied as it comes: a
// warp's row tile, from registers, with COLS tokens of BLOCKS blocks of 32 columns (wgmma.cuh).

struct Stages {
    const u8* bytes;
    u32 memory, full, empty;  // the same bytes, and barriers (pipeline.cuh)
    int slot, parity;
};

// acc = the sums of a strand: of the stages `step` to last - 1.
__device__ __forceinline__ void multiply_strand(float (&acc)[COLS / 2], Stages& s, int& step,
                                                int last, int row_tile, int lane) {
#pragma unroll
    for (int i = 0; i < COLS / 2; i++) acc[i] = 0;
#pragma unroll 1
    for (; step < last; step++) {
        wait(s.full + 8 * s.slot, s.parity);
        const uint4* a = (const uint4*)(s.bytes + s.slot * STAGE_BYTES) + row_tile * BLOCKS * 64;
        u32 b = s.memory + s.slot * STAGE_BYTES + WEIGHT_BYTES;
        uint4 weights[BLOCKS][2];
#pragma unroll
        for (int i = 0; i < BLOCKS; i++)
#pragma unroll
            for (int m = 0; m < 2; m++) weights[i][m] = a[(i * 2 + m) * WARP + lane];
        wgmma_begin();
#pragma unroll
        for (int i = 0; i < BLOCKS; i++)
#pragma unroll
            for (int m = 0; m < 2; m++)
                wgmma(acc, weights[i][m], matrices_at(b + i * TOKEN_BYTES + m * 2 * LEAD));
        wgmma_go();
        wgmma_wait();
        if (lane == 0) arrive(s.empty + 8 * s.slot);
        if (++s.slot == STAGES) s.slot = 0, s.parity ^= 1;
    }
}

// total = -0.0f, to which a strand's sum is added without changing it, whatever its sign.
__device__ __forceinline__ void nothing_yet(float (&total)[1][COLS / 8][4]) {
#pragma unroll
    for (int i = 0; i < COLS / 2; i++) total[0][i / 4][i % 4] = -0.0f;
}

__device__ __forceinline__ void add_strand(float (&total)[1][COLS / 8][4],
                                           const float (&acc)[COLS / 2]) {
#pragma unroll
    for (int i = 0; i < COLS / 2; i++) total[0][i / 4][i % 4] += acc[i];
}
