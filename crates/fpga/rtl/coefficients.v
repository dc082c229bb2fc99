// Four complex coefficients on their way in: mantissas of 16 bits become 17, doubled where a coefficient stands for its mirror
// too, and -32768, which no encoder sends, becomes -32767.
module coefficients (
    input [127:0] x,
    input alone,  // the mirror row is not in the block
    input own,  // column 0 of the four is its own mirror: column 0 or D / 2
    output [135:0] y,
    output reg [3:0] clipped
);
    integer i;
    always @* begin
        clipped = 0;
        for (i = 0; i < 8; i = i + 1) clipped = clipped + (x[16*i+:16] == 16'h8000);
    end
    genvar k;
    generate
        for (k = 0; k < 8; k = k + 1) begin : number
            wire [15:0] m = {x[16*k+1+:15], x[16*k] | x[16*k+:16] == 16'h8000};
            assign y[17*k+:17] = k < 2 & own & !alone ? {m[15], m} : {m, 1'b0};
        end
    endgenerate
endmodule
