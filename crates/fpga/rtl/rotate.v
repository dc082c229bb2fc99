// A complex number times a root of unity, rounded: (x root + 1/2) / 2^16, three registers deep.
module rotate #(
    parameter W = 27
) (
    input clk,
    input en,
    input signed [W-1:0] re,
    input signed [W-1:0] im,
    input [35:0] root,  // real part in the high half, each 18 bits, 1.0 is 65536
    output reg signed [W-1:0] re_out,
    output reg signed [W-1:0] im_out
);
    /* verilator no_inline_module */
    reg signed [W-1:0] a, b;
    reg signed [17:0] c, s;
    reg signed [W+17:0] ac, bs, as, bc;
    wire signed [W+18:0] real_sum = ac - bs + 32768;
    wire signed [W+18:0] imaginary_sum = as + bc + 32768;

    always @(posedge clk)
        if (en) begin
            a <= re;
            b <= im;
            c <= root[35:18];
            s <= root[17:0];
            ac <= a * c;
            bs <= b * s;
            as <= a * s;
            bc <= b * c;
            re_out <= real_sum[W+15:16];
            im_out <= imaginary_sum[W+15:16];
        end
endmodule
