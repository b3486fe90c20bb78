// All kernels of the device text. The forms of the product with the tiles that ran fastest on an
// H200 (docs/gpu-notes.md has what others gave).

#include "common.h"
#include "../functions/device.h"
#include "../adagrad/device.h"
#include "../adam/device.h"
#include "../irprop/device.h"
#include "../add/device.h"
#include "../average/device.h"
#include "sums.h"
#include "../product/device_words.h"
#include "../mixture/device.h"
#include "../best/device.h"
#include "order.h"
#include "../normalise/device.h"
#include "../standardise/device.h"
#include "../dense/device.h"
#include "../gating/device.h"
#include "../residual/device.h"
#include "../dequantise/device.h"
#include "../pooling/device.h"
#include "turn.h"

// Z = b + V W of turned activations: V' [d][rows], W in panels, Z [rows][columns]. And dV += dZ W'
// of turned dZ [columns][rows], W' in panels.
#define TILE_M 128
#define TILE_N 128
#define TILE_K 16
#define THREAD_M 8
#define THREAD_N 8
#define LANES_M 4
#define STAGES 2
#define GROUPS 2
#define KEEP_TILE
#define PRODUCT product_turned
#define LEFT END_TO_END_M
#define RIGHT PANELS
#define FINISH PUT
#include "../product/device.h"

// The same, but what comes out is turned, Z [columns][rows].
#define PRODUCT product_turned_out
#define LEFT END_TO_END_M
#define RIGHT PANELS
#define FINISH PUT_TURNED
#include "../product/device.h"

// The first two of activations and dZ row by row.
#undef KEEP_TILE
#define PRODUCT product_straight
#define LEFT END_TO_END_K
#define RIGHT PANELS
#define FINISH PUT
#include "../product/device.h"

// The first two where C has so few tiles that they wouldn't keep a GPU busy.
#define TILE_M 64
#define TILE_N 64
#define TILE_K 16
#define THREAD_M 4
#define THREAD_N 8
#define LANES_M 4
#define STAGES 2
#define GROUPS 4
#define PRODUCT product_turned_small
#define LEFT END_TO_END_M
#define RIGHT PANELS
#define FINISH PUT
#include "../product/device.h"

// dW = V' dZ, written, added to or a step taken with: V [rows][d], dZ [rows][columns].
#define TILE_M 64
#define TILE_N 128
#define TILE_K 16
#define THREAD_M 8
#define THREAD_N 8
#define LANES_M 4
#define STAGES 2
#define GROUPS 4
#define KEEP_TILE
#define PRODUCT product_gradient
#define LEFT END_TO_END_M
#define RIGHT ROWS
#define FINISH PUT
#include "../product/device.h"

#define PRODUCT gradient_adagrad
#define LEFT END_TO_END_M
#define RIGHT ROWS
#define FINISH ADAGRAD
#include "../product/device.h"

#undef KEEP_TILE
#define PRODUCT gradient_adam
#define LEFT END_TO_END_M
#define RIGHT ROWS
#define FINISH ADAM
#include "../product/device.h"
