// A sum of products, over 2^16 and rounded: registers before and behind the multiplier, and the accumulator, as in a DSP48E2;
// and a register that takes the sum and hands it down a chain.
module multiply_add #(
    parameter W = 24
) (
    input clk,
    input signed [W-1:0] x,
    input signed [17:0] root,
    input add,  // two cycles after its numbers
    input first,
    input load,
    input shift,
    input [31:0] chain_in,
    output reg [31:0] chain
);
    reg signed [W-1:0] a;
    reg signed [17:0] b;
    reg signed [W+17:0] product;
    reg signed [47:0] total;
    always @(posedge clk) begin
        a <= x;
        b <= root;
        product <= a * b;
        if (add) total <= (first ? 48'sd32768 : total) + product;
        if (load) chain <= total[47:16];
        else if (shift) chain <= chain_in;
    end
endmodule
