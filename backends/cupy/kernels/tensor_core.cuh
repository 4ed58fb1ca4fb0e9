// The tensor cores' products of small matrices, d = a b + c, as PTX names them (ISA 9.0, section
// 9.7.15).  A lane is (g, c) = (lane / 4, lane % 4).  It holds of d the rows g and g + 8 and the
// columns 2c and 2c + 1: d = {[g][2c], [g][2c+1], [g+8][2c], [g+8][2c+1]}.  Each element of d is
// computed by itself, from its row of a and its column of b: that is why a token's result is the
// same in any column, and beside any neighbours.

__device__ __forceinline__ void mma_f16(float d[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0,
                                        u32 b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

__device__ __forceinline__ void mma_bf16(float d[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0,
                                         u32 b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

// Bytes, 32 products an element: exact.  The sum starts at the integer whose bits are the float
// 1.5 * 2**23, so that d, read as a float, is that plus the sum of products: no conversion is
// needed.
#define FLOAT_START 0x4b400000
#define FLOAT_START_VALUE 12582912.0f

__device__ __forceinline__ void mma_s8(float d[4], const u32 a[4], u32 b0, u32 b1) {
    int sum[4];
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%10,%10,%10,%10};"
        : "=r"(sum[0]), "=r"(sum[1]), "=r"(sum[2]), "=r"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "r"(FLOAT_START));
    for (int i = 0; i < 4; i++) d[i] = __int_as_float(sum[i]);
}

// The same with 16 products an element.
__device__ __forceinline__ void mma_s8_half(float d[4], u32 a0, u32 a1, u32 b0) {
    int sum[4];
    asm("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5}, {%6}, "
        "{%7,%7,%7,%7};"
        : "=r"(sum[0]), "=r"(sum[1]), "=r"(sum[2]), "=r"(sum[3])
        : "r"(a0), "r"(a1), "r"(b0), "r"(FLOAT_START));
    for (int i = 0; i < 4; i++) d[i] = __int_as_float(sum[i]);
}

// Four 8 x 8 matrices of 16-bit values from shared memory, transposed: lane i says where row i % 8
// of matrix i / 8 begins.
__device__ __forceinline__ void load_transposed(u32 a[4], u32 row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3])
                 : "r"(row)
                 : "memory");
}

// An 8 x 8 matrix of 16-bit values, transposed across the warp.
__device__ __forceinline__ u32 transposed(u32 x) {
    u32 y;
    asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(y) : "r"(x));
    return y;
}
