// Eight numbers to mantissas of BITS bits with a common exponent: shifted so that the largest has BITS - 1 bits beside its
// sign, halves rounded up; what rounds beyond is the largest mantissa. Zeros have exponent -128. Four registers deep.
module normalise #(
    parameter W = 27,
    parameter BITS = 17,
    parameter TAG = 1
) (
    input clk,
    input rst,
    input en,
    input valid,
    input [8*W-1:0] x,
    input signed [9:0] exponent,  // x is in units of 2^exponent
    input [TAG-1:0] tag,
    output reg valid_out,
    output reg [8*BITS-1:0] y,
    output reg signed [9:0] exponent_out,
    output reg [TAG-1:0] tag_out
);
    reg [8*W-1:0] x1, x2;
    reg [W-1:0] magnitudes, all1;
    reg any1, any2, any3, v1, v2, v3;
    reg signed [9:0] e1, e2, e3;
    reg [TAG-1:0] t1, t2, t3;
    reg [4:0] shift2;
    reg any;
    integer i;

    always @* begin
        magnitudes = 0;
        any = 0;
        for (i = 0; i < 8; i = i + 1) begin
            magnitudes = magnitudes | (x[i*W+:W] ^ {W{x[i*W+W-1]}});
            any = any | (x[i*W+:W] != 0);
        end
    end

    reg [4:0] shift;
    integer place;
    always @* begin
        shift = 0;
        for (place = BITS - 1; place < W; place = place + 1) if (all1[place]) shift = place - BITS + 2;
    end

    // With a bit below the point, that decides on rounding.
    reg [8*(W+1)-1:0] shifted;
    genvar k;
    generate
        for (k = 0; k < 8; k = k + 1) begin : number
            wire signed [W:0] wide = {x2[k*W+:W], 1'b0};
            always @(posedge clk) if (en) shifted[k*(W+1)+:W+1] <= wide >>> shift2;
            wire signed [W:0] fine = shifted[k*(W+1)+:W+1];
            wire signed [BITS:0] rounded = $signed(fine[BITS:1]) + $signed({1'b0, fine[0]});
            wire over = rounded[BITS] != rounded[BITS-1] | rounded[BITS-1:0] == {1'b1, {BITS - 1{1'b0}}};
            always @(posedge clk)
                if (en) y[k*BITS+:BITS] <= !over ? rounded[BITS-1:0] : {rounded[BITS], {BITS - 2{~rounded[BITS]}}, 1'b1};
        end
    endgenerate

    always @(posedge clk) begin
        if (en) begin
            {v1, x1, e1, t1, all1, any1} <= {valid, x, exponent, tag, magnitudes, any};
            {v2, x2, e2, t2, shift2, any2} <= {v1, x1, e1, t1, shift, any1};
            {v3, e3, t3, any3} <= {v2, e2 + $signed({5'b0, shift2}), t2, any2};
            {valid_out, exponent_out, tag_out} <= {v3, any3 ? e3 : -10'sd128, t3};
        end
        if (rst) {v1, v2, v3, valid_out} <= 0;
    end
endmodule
