// The largest exponent of each of 1024 groups of words: the first word sets it, others raise it.
module max_table (
    input clk,
    input write,
    input first,
    input [9:0] to,
    input signed [7:0] x,
    input [9:0] from,
    output signed [7:0] y  // in the same cycle
);
    reg signed [7:0] top[0:1023];
    wire signed [7:0] earlier = top[to];
    always @(posedge clk) if (write & (first | x > earlier)) top[to] <= x;
    assign y = top[from];
endmodule
