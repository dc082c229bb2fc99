// A quotient, rounded: (2^exponent + divisor / 2) / divisor, a bit a cycle.
module divide (
    input clk,
    input rst,
    input start,
    input [5:0] exponent,  // at most 32
    input [10:0] divisor,  // 1 to 1536
    output busy,
    output reg [32:0] quotient
);
    reg [5:0] left;
    reg [33:0] dividend;
    reg [11:0] remainder;
    wire [11:0] next = {remainder[10:0], dividend[33]};
    wire fits = next >= {1'b0, divisor};
    assign busy = left != 0;
    always @(posedge clk) begin
        if (start) begin
            left <= 34;
            dividend <= (34'd1 << exponent) + divisor[10:1];
            remainder <= 0;
            quotient <= 0;
        end else if (busy) begin
            left <= left - 1'b1;
            dividend <= dividend << 1;
            remainder <= fits ? next - divisor : next;
            quotient <= {quotient[31:0], fits};
        end
        if (rst) left <= 0;
    end
endmodule
